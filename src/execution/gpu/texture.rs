//! Converts images in textures to a model's pixel values, on the device.

use super::context::{Gpu, create};
use crate::data::error::{Error, Result};
use crate::execution::image::{Alpha, Levels, Preprocess, Sampling, Taps};
use std::sync::Arc;

/// An image in a texture on the model's device.
#[derive(Clone, Copy, Debug)]
pub struct TextureImage<'a> {
    view: &'a wgpu::TextureView,
    rectangle: Option<[u32; 4]>,
    encoding: Encoding,
}

/// Encoding of the values in a texture. Models were trained on sRGB-encoded levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// By the format: linear light in float formats and in sRGB formats, which are decoded when read; encoded levels in other 8-bit formats.
    #[default]
    ByFormat,
    /// Linear light, still to be encoded.
    Linear,
    /// Already encoded levels.
    Encoded,
}

impl<'a> TextureImage<'a> {
    /// Uses the whole first mip level of a texture. `view` is a 2-D view of a texture with usage `TEXTURE_BINDING` and a format that shaders read as
    /// floats: 8-bit (sRGB or not) or float. Formats of one channel are grey. For a view that begins at a smaller mip level, set a rectangle: wgpu does not
    /// tell the size of a view.
    pub fn new(view: &'a wgpu::TextureView) -> TextureImage<'a> {
        TextureImage { view, rectangle: None, encoding: Encoding::ByFormat }
    }

    /// Uses a part of the texture: left, top, width and height in texels; all of it by `None`, the default.
    #[must_use]
    pub fn rectangle(self, rectangle: impl Into<Option<[u32; 4]>>) -> TextureImage<'a> {
        TextureImage { rectangle: rectangle.into(), ..self }
    }

    /// Sets the encoding of the values that a shader reads. Default: [`Encoding::ByFormat`].
    #[must_use]
    pub fn encoding(self, encoding: Encoding) -> TextureImage<'a> {
        TextureImage { encoding, ..self }
    }

    /// Returns left, top, width and height.
    ///
    /// # Errors
    /// [`Error::Argument`] if shaders cannot read the texture, or the rectangle is empty or extends beyond it.
    pub(crate) fn checked_rectangle(&self) -> Result<[u32; 4]> {
        let texture = self.view.texture();
        let is_float = matches!(texture.format().sample_type(None, None), Some(wgpu::TextureSampleType::Float { .. }));
        let is_plain = texture.dimension() == wgpu::TextureDimension::D2 && texture.sample_count() == 1;
        if !is_float || !is_plain || !texture.usage().contains(wgpu::TextureUsages::TEXTURE_BINDING) {
            return Err(Error::argument(
                "image",
                format!(
                    "expected a 2-D float texture without multisampling, with usage TEXTURE_BINDING, found {:?}, {:?}, {} samples, {:?}",
                    texture.format(),
                    texture.dimension(),
                    texture.sample_count(),
                    texture.usage()
                ),
            ));
        }
        let [left, top, width, height] = self.rectangle.unwrap_or([0, 0, texture.width(), texture.height()]);
        let is_inside = |start: u32, len: u32, size: u32| len > 0 && start.checked_add(len).is_some_and(|end| end <= size);
        match is_inside(left, width, texture.width()) && is_inside(top, height, texture.height()) {
            true => Ok([left, top, width, height]),
            false => Err(Error::argument(
                "image",
                format!("expected a rectangle inside {} x {} texels, found {width} x {height} at {left}, {top}", texture.width(), texture.height()),
            )),
        }
    }

    fn is_linear(&self) -> bool {
        let format = self.view.texture().format();
        match self.encoding {
            Encoding::Linear => true,
            Encoding::Encoded => false,
            Encoding::ByFormat => format.is_srgb() || is_float(format),
        }
    }
}

pub(super) fn is_float(format: wgpu::TextureFormat) -> bool {
    use wgpu::TextureFormat::{
        Bc6hRgbFloat, Bc6hRgbUfloat, R16Float, R32Float, Rg11b10Ufloat, Rg16Float, Rg32Float, Rgb9e5Ufloat, Rgba16Float, Rgba32Float,
    };
    [R16Float, Rg16Float, Rgba16Float, R32Float, Rg32Float, Rgba32Float, Rg11b10Ufloat, Rgb9e5Ufloat, Bc6hRgbFloat, Bc6hRgbUfloat].contains(&format)
}

/// Parameters in `shaders/texture/sampling.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    left: u32,
    top: u32,
    first_row: u32,
    rows: u32,
    window: [u32; 2],
    size: [u32; 2],
    offset: [u32; 2],
    image: u32,
    channels: u32,
    is_rounded: u32,
    is_linear: u32,
    on_white: u32,
    scale: f32,
    mean: [f32; 4],
    std: [f32; 4],
    fill: [f32; 3],
    is_grey: u32,
}

/// Pipelines of the two passes.
#[derive(Debug)]
pub(super) struct Passes {
    across: wgpu::ComputePipeline,
    down: wgpu::ComputePipeline,
}

/// Compiles the passes for images in textures.
///
/// # Errors
/// [`Error::Device`] if the device rejects them.
pub(crate) async fn warm_up_textures(gpu: &Gpu) -> Result<()> {
    gpu.checked("compiling", || Passes::of(gpu)).await.map(drop)
}

impl Passes {
    /// Returns the passes of a device, compiled on first use.
    fn of(gpu: &Gpu) -> Arc<Passes> {
        gpu.parts.get(|| Passes::new(gpu))
    }

    fn new(gpu: &Gpu) -> Passes {
        const COMMON: &str = include_str!("../../../shaders/texture/sampling.wgsl");
        let pipeline = |name, text: &str| {
            let source = wgpu::ShaderSource::Wgsl(format!("{COMMON}{text}").into());
            let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(name), source });
            gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(name),
                layout: None,
                module: &module,
                entry_point: Some(name),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: gpu.pipeline_cache().as_ref(),
            })
        };
        Passes {
            across: pipeline("across", include_str!("../../../shaders/texture/across.wgsl")),
            down: pipeline("down", include_str!("../../../shaders/texture/down.wgsl")),
        }
    }
}

/// Device resources for images of one size.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    rows: wgpu::Buffer,
    columns: wgpu::Buffer,
    /// Levels between the two passes.
    levels: wgpu::Buffer,
}

impl Sampler {
    /// Uploads the tables for images of one size.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if memory runs out.
    pub async fn new(gpu: &Gpu, preprocess: &Preprocess, sampling: Sampling) -> Result<Sampler> {
        let make = || {
            let table = |name, words: &[u32]| {
                let buffer = create(gpu, name, words.len() as u64 * 4, wgpu::BufferUsages::STORAGE, true);
                // If memory ran out there is no range; the error scope reports why.
                if let Ok(mut range) = buffer.slice(..).get_mapped_range_mut() {
                    range.copy_from_slice(bytemuck::cast_slice(words));
                }
                buffer.unmap();
                buffer
            };
            let bytes = sampling.rows.range().len() * sampling.columns.pixels.len() * preprocess.channels * 4;
            let levels = create(gpu, "levels", bytes as u64, wgpu::BufferUsages::STORAGE, false);
            (table("rows", &sampling.rows.words()), table("columns", &sampling.columns.words()), levels)
        };
        let (rows, columns, levels) = gpu.checked("an image's tables", make).await?;
        Ok(Sampler { sampling, rows, columns, levels })
    }

    /// Returns the height and width of the input images.
    pub fn image(&self) -> [usize; 2] {
        self.sampling.image
    }

    /// Returns the height and width of the result.
    pub fn size(&self) -> [usize; 2] {
        self.sampling.size
    }

    /// Prepares both passes for image `number` of `pixel_values` `[B, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the texture or its rectangle is not usable, [`Error::Device`] if the device rejects the view.
    pub(super) async fn prepare(
        &self,
        gpu: &Gpu,
        preprocess: &Preprocess,
        image: &TextureImage<'_>,
        number: usize,
        pixel_values: &wgpu::Buffer,
    ) -> Result<PreparedImage> {
        let [left, top, ..] = image.checked_rectangle()?;
        let Sampling { size, offset, rows, columns, .. } = &self.sampling;
        let range = rows.range();
        let by_channel = |values: &[f32]| std::array::from_fn(|channel| values.get(channel).copied().unwrap_or(1.0));
        // Padding is 0 after normalisation, which is the mean's level.
        let mean = |channel: usize| (f64::from(preprocess.mean.get(channel).copied().unwrap_or(0.0)) / preprocess.scale) as f32;
        let fill = match (&preprocess.crop, preprocess.pad) {
            (Some(crop), _) => crop.fill.map(f32::from),
            (None, Some(_)) => std::array::from_fn(mean),
            (None, None) => [0.0; 3],
        };
        let narrow = |value: usize| u32::try_from(value).expect("it is the size of an image");
        let params = Params {
            left,
            top,
            first_row: range.start,
            rows: range.end - range.start,
            window: [narrow(columns.pixels.len()), narrow(rows.pixels.len())],
            size: size.map(narrow),
            offset: offset.map(narrow),
            image: narrow(number),
            channels: narrow(preprocess.channels),
            is_rounded: u32::from(preprocess.resizes == Levels::Rounded),
            is_linear: u32::from(image.is_linear()),
            on_white: u32::from(preprocess.alpha == Alpha::OnWhite),
            scale: preprocess.scale as f32,
            mean: by_channel(&preprocess.mean),
            std: by_channel(&preprocess.std),
            fill,
            is_grey: u32::from(image.view.texture().format().components() == 1),
        };
        let passes = gpu.checked("compiling", || Passes::of(gpu)).await?;
        let bind = || {
            let uniform = uniform(gpu, bytemuck::bytes_of(&params));
            let view = wgpu::BindingResource::TextureView(image.view);
            let (params, levels) = ((0, uniform.as_entire_binding()), (3, self.levels.as_entire_binding()));
            let across = [params.clone(), (1, self.columns.as_entire_binding()), (2, view), levels.clone()];
            let down = [params, (1, self.rows.as_entire_binding()), levels, (4, pixel_values.as_entire_binding())];
            [bind(gpu, &passes.across.get_bind_group_layout(0), across), bind(gpu, &passes.down.get_bind_group_layout(0), down)]
        };
        let [across, down] = gpu.checked("an image", bind).await?;
        let grid = |[width, height]: [u32; 2]| [width.div_ceil(8), height.div_ceil(8)];
        // About twenty operations per tap: a texel is clamped, encoded and rounded.
        let neighbours = |taps: &Taps| taps.pixels.iter().map(|(_, weights)| weights.len() as u64).sum::<u64>();
        let [rows_read, columns_made] = [params.rows, params.window[0]].map(u64::from);
        Ok(PreparedImage {
            operations: 20 * (rows_read * neighbours(columns) + columns_made * neighbours(rows)),
            passes: [
                (passes.across.clone(), across, grid([params.window[0], params.rows])),
                (passes.down.clone(), down, grid([params.size[1], params.size[0]])),
            ],
        })
    }
}

/// Both passes over an image: pipelines, bind groups and grids.
#[derive(Debug)]
pub(super) struct PreparedImage {
    /// Approximate number of arithmetic operations.
    pub operations: u64,
    passes: [(wgpu::ComputePipeline, wgpu::BindGroup, [u32; 2]); 2],
}

impl PreparedImage {
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (pipeline, bindings, [width, height]) in &self.passes {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, bindings, &[]);
            pass.dispatch_workgroups(*width, *height, 1);
        }
    }
}

/// Creates a uniform buffer of parameters.
pub(super) fn uniform(gpu: &Gpu, bytes: &[u8]) -> wgpu::Buffer {
    let buffer = create(gpu, "parameters", bytes.len() as u64, wgpu::BufferUsages::UNIFORM, true);
    // If memory ran out there is no range; the error scope reports why.
    if let Ok(mut range) = buffer.slice(..).get_mapped_range_mut() {
        range.copy_from_slice(bytes);
    }
    buffer.unmap();
    buffer
}

/// Creates a bind group of numbered resources.
pub(super) fn bind<const COUNT: usize>(
    gpu: &Gpu,
    layout: &wgpu::BindGroupLayout,
    resources: [(u32, wgpu::BindingResource<'_>); COUNT],
) -> wgpu::BindGroup {
    let entries = resources.map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource });
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
}
