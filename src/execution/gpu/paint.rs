//! Draws maps of an image into a host's textures, in the host's encoder.

use super::context::{Gpu, create};
use super::encode::GpuOutput;
use super::shader::assemble;
use super::texture::{bind, is_float, uniform};
use crate::data::config::Map;
use crate::data::error::{Error, Result};
use crate::data::record::Spec;
use crate::execution::image::painting::{Painting, STOPS, Selection};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// A texture on the model's device to draw a map into.
#[derive(Clone, Copy, Debug)]
pub struct PaintTarget<'a> {
    view: &'a wgpu::TextureView,
    format: Option<wgpu::TextureFormat>,
    rectangle: Option<[f32; 4]>,
}

impl<'a> PaintTarget<'a> {
    /// Targets the whole first mip level of a texture. `view` is a view of one mip level of a 2-D texture with usage `RENDER_ATTACHMENT`. sRGB and float
    /// formats receive linear light, others encoded levels.
    pub fn new(view: &'a wgpu::TextureView) -> PaintTarget<'a> {
        PaintTarget { view, format: None, rectangle: None }
    }

    /// Sets the format of the view. Default: that of its texture.
    #[must_use]
    pub fn format(self, format: wgpu::TextureFormat) -> PaintTarget<'a> {
        PaintTarget { format: Some(format), ..self }
    }

    /// Places the image in the target: left, top, width and height in texels. Texels outside keep their contents, and the rectangle may extend beyond
    /// the texture. By `None`, the default, the image fills the first mip level; other levels need a rectangle.
    #[must_use]
    pub fn rectangle(self, rectangle: impl Into<Option<[f32; 4]>>) -> PaintTarget<'a> {
        PaintTarget { rectangle: rectangle.into(), ..self }
    }

    fn view_format(&self) -> wgpu::TextureFormat {
        self.format.unwrap_or(self.view.texture().format())
    }

    /// Returns the rectangle, if the texture can be drawn into, and blended if `blends`.
    fn checked(&self, gpu: &Gpu, blends: bool) -> Result<[f32; 4]> {
        let (texture, format) = (self.view.texture(), self.view_format());
        let able = format.guaranteed_format_features(gpu.device.features());
        let is_float = matches!(format.sample_type(None, None), Some(wgpu::TextureSampleType::Float { .. }));
        let is_plain = texture.dimension() == wgpu::TextureDimension::D2 && texture.sample_count() == 1;
        let is_attachment = texture.usage().contains(wgpu::TextureUsages::RENDER_ATTACHMENT);
        if !is_float || !is_plain || !is_attachment || !able.allowed_usages.contains(wgpu::TextureUsages::RENDER_ATTACHMENT) {
            return Err(Error::argument(
                "painting",
                format!(
                    "expected a 2-D colour texture without multisampling, with usage RENDER_ATTACHMENT, found {format:?}, {:?}, {} samples, {:?}",
                    texture.dimension(),
                    texture.sample_count(),
                    texture.usage()
                ),
            ));
        }
        if blends && !able.flags.contains(wgpu::TextureFormatFeatureFlags::BLENDABLE) {
            return Err(Error::argument("painting", format!("{format:?} cannot be blended on this device; expected an opacity of 1")));
        }
        let largest = gpu.device.limits().max_texture_dimension_2d as f32;
        let rectangle = self.rectangle.unwrap_or([0.0, 0.0, texture.width() as f32, texture.height() as f32]);
        let [.., width, height] = rectangle;
        match width > 0.0 && height > 0.0 && rectangle.iter().all(|value| value.abs() <= largest) {
            true => Ok(rectangle),
            false => Err(Error::argument(
                "painting",
                format!("expected a rectangle with sizes above 0 and values of at most {largest}, found {rectangle:?}"),
            )),
        }
    }
}

/// Parameters in `shaders/texture/heat.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct HeatParams {
    start: u32,
    stride: u32,
    heads: u32,
    patches: u32,
}

/// Parameters in `shaders/texture/paint.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct PaintParams {
    size: [f32; 2],
    patches: [f32; 2],
    grid: [u32; 2],
    start: u32,
    channels: u32,
    origin: [f32; 2],
    is_light: u32,
    opacity: f32,
    scale: [[f32; 4]; STOPS],
}

/// Pipelines that draw maps.
#[derive(Debug)]
pub(super) struct Painter {
    heat: wgpu::ComputePipeline,
    shader: wgpu::ShaderModule,
    /// Pipelines by target format and whether they blend with its contents.
    pipelines: Mutex<HashMap<(wgpu::TextureFormat, bool), wgpu::RenderPipeline>>,
}

impl Painter {
    /// Returns the painter of a device, compiled on first use.
    fn of(gpu: &Gpu) -> Arc<Painter> {
        gpu.parts.get(|| Painter::new(gpu))
    }

    fn new(gpu: &Gpu) -> Painter {
        let module = |label, text: &str, spec: &Spec| {
            let source = wgpu::ShaderSource::Wgsl(assemble(text, &[], spec).expect("our own imports and constants").into());
            gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(label), source })
        };
        let heat = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("heat map"),
            layout: None,
            // Depth has as many values as an image has pixels.
            module: &module("heat map", include_str!("../../../shaders/texture/heat.wgsl"), &Spec::NONE.with([("WORKGROUP", 256)])),
            entry_point: Some("heat_map"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: gpu.pipeline_cache().as_ref(),
        });
        Painter { heat, shader: module("paint", include_str!("../../../shaders/texture/paint.wgsl"), &Spec::NONE), pipelines: Mutex::default() }
    }

    fn pipeline(&self, gpu: &Gpu, format: wgpu::TextureFormat, blends: bool) -> wgpu::RenderPipeline {
        let make = || {
            let target =
                wgpu::ColorTargetState { format, blend: blends.then_some(wgpu::BlendState::ALPHA_BLENDING), write_mask: wgpu::ColorWrites::ALL };
            gpu.device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                label: Some("paint"),
                layout: None,
                vertex: wgpu::VertexState {
                    module: &self.shader,
                    entry_point: Some("cover"),
                    compilation_options: wgpu::PipelineCompilationOptions::default(),
                    buffers: &[],
                },
                fragment: Some(wgpu::FragmentState {
                    module: &self.shader,
                    entry_point: Some("paint"),
                    compilation_options: wgpu::PipelineCompilationOptions::default(),
                    targets: &[Some(target)],
                }),
                primitive: wgpu::PrimitiveState::default(),
                depth_stencil: None,
                multisample: wgpu::MultisampleState::default(),
                multiview_mask: None,
                cache: gpu.pipeline_cache().as_ref(),
            })
        };
        let mut pipelines = self.pipelines.lock().expect("no panic while it is held");
        let is_new = !pipelines.contains_key(&(format, blends));
        let pipeline = pipelines.entry((format, blends)).or_insert_with(make).clone();
        if is_new {
            gpu.keep_pipelines();
        }
        pipeline
    }
}

impl GpuOutput {
    /// Records drawing this output, a map of an image ([`Config::map`](crate::data::config::Config::map)), into a texture on the same device: rows of
    /// attention and depth as heat, principal components as colours, interpolated linearly between the centres of patches or pixels. Where the patches cover the whole
    /// image, a target the size of the map's grid gets one texel per value. Depth by [`Scale::Values`](crate::execution::image::painting::Scale::Values) into a float texture, such as `R32Float`,
    /// is the depth itself. The first painting into a format compiles a pipeline. Nothing is submitted.
    ///
    /// # Errors
    /// [`Error::Argument`] if the output is not a map, `painting` selects something that it lacks, or the texture cannot be drawn into;
    /// [`Error::OutOfMemory`] if memory runs out; [`Error::Device`] if the device rejects the commands.
    pub fn paint(&self, encoder: &mut wgpu::CommandEncoder, target: &PaintTarget<'_>, painting: &Painting) -> Result<()> {
        let Some(map) = self.map() else {
            let found = "expected an output that is a map of an image, such as attn.0, rollout, pca or predicted_depth";
            return Err(Error::argument("painting", format!("{found}, found one of shape {:?}", self.shape())));
        };
        let gpu = self.gpu();
        let selection = painting.select(map, self.shape()[0])?;
        let rectangle = target.checked(gpu, painting.opacity < 1.0)?;
        let prepare = || {
            let (heat, values, start) = match painting.stretches(map.kind) {
                true => {
                    let (pass, values) = Painter::of(gpu).heat(gpu, self.buffer(), selection, map.grid);
                    (Some(pass), values, 0)
                }
                false => (None, self.buffer().clone(), selection.start),
            };
            let params = PaintParams::new(map, start, selection.channels, painting, target.view_format(), rectangle);
            let passes = Passes { heat, paint: Painter::of(gpu).paint(gpu, &values, &params, target.view_format()), view: target.view, rectangle };
            // A trial that is never submitted: it raises the errors that the device would otherwise report when the host finishes its commands.
            let mut trial = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            passes.encode(&mut trial);
            drop(trial.finish());
            passes
        };
        // Natively nothing in it waits.
        pollster::block_on(gpu.checked("a painting", prepare))?.encode(encoder);
        Ok(())
    }
}

impl PaintParams {
    fn new(
        map: &Map,
        start: usize,
        channels: usize,
        painting: &Painting,
        format: wgpu::TextureFormat,
        [left, top, width, height]: [f32; 4],
    ) -> PaintParams {
        let [rows, columns] = map.grid;
        let stops = painting.scale.stops().map(|stops| stops.map(|[red, green, blue]| [red, green, blue, 1.0]));
        PaintParams {
            size: [width, height],
            patches: [columns as f32 / map.share[1], rows as f32 / map.share[0]],
            grid: [columns, rows].map(narrow),
            start: narrow(start),
            channels: narrow(channels),
            origin: [left, top],
            is_light: u32::from(format.is_srgb() || is_float(format)),
            opacity: painting.opacity,
            scale: stops.unwrap_or([[0.0; 4]; STOPS]),
        }
    }
}

impl Painter {
    /// Returns a pass that scales a row of attention to values from 0 to 1, and the buffer that it writes.
    fn heat(&self, gpu: &Gpu, weights: &wgpu::Buffer, selection: Selection, grid: [usize; 2]) -> (HeatPass, wgpu::Buffer) {
        let patches = grid[0] * grid[1];
        let Selection { start, stride, heads, .. } = selection;
        let params = HeatParams { start: narrow(start), stride: narrow(stride), heads: narrow(heads), patches: narrow(patches) };
        let heat = create(gpu, "heat map", patches as u64 * 4, wgpu::BufferUsages::STORAGE, false);
        let params = uniform(gpu, bytemuck::bytes_of(&params));
        let buffers = [(0, params.as_entire_binding()), (1, weights.as_entire_binding()), (2, heat.as_entire_binding())];
        ((self.heat.clone(), bind(gpu, &self.heat.get_bind_group_layout(0), buffers)), heat)
    }

    /// Returns a pass that draws `values`.
    fn paint(&self, gpu: &Gpu, values: &wgpu::Buffer, params: &PaintParams, format: wgpu::TextureFormat) -> PaintPass {
        let pipeline = self.pipeline(gpu, format, params.opacity < 1.0);
        let params = uniform(gpu, bytemuck::bytes_of(params));
        let bindings = bind(gpu, &pipeline.get_bind_group_layout(0), [(0, params.as_entire_binding()), (1, values.as_entire_binding())]);
        (pipeline, bindings)
    }
}

type HeatPass = (wgpu::ComputePipeline, wgpu::BindGroup);
type PaintPass = (wgpu::RenderPipeline, wgpu::BindGroup);

/// Passes that a painting records.
struct Passes<'a> {
    heat: Option<HeatPass>,
    paint: PaintPass,
    view: &'a wgpu::TextureView,
    rectangle: [f32; 4],
}

impl Passes<'_> {
    fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        if let Some((pipeline, bindings)) = &self.heat {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, bindings, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
        let attachment = wgpu::RenderPassColorAttachment {
            view: self.view,
            depth_slice: None,
            resolve_target: None,
            ops: wgpu::Operations { load: wgpu::LoadOp::Load, store: wgpu::StoreOp::Store },
        };
        let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: Some("vitraux.paint"),
            color_attachments: &[Some(attachment)],
            ..Default::default()
        });
        let ([left, top, width, height], (pipeline, bindings)) = (self.rectangle, &self.paint);
        pass.set_viewport(left, top, width, height, 0.0, 1.0);
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, bindings, &[]);
        pass.draw(0..3, 0..1);
    }
}

/// Converts a count of elements of a buffer, of which there are fewer than 2^30.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("it counts elements of a buffer")
}
