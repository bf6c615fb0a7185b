//! Checks the passes between textures and tensors: sampled images and painted maps.

use super::judge::apart;
use super::report::{KernelReport, Outcome};
use crate::data::error::{Error, Result};
use crate::data::tensor::Tensor;
use crate::execution::checkpoint::Checkpoint;
use crate::execution::device::Device;
use crate::execution::gpu::{Gpu, PaintTarget, TextureImage};
use crate::execution::image::Image;
use crate::execution::image::Preprocess;
use crate::execution::image::painting::{Painting, Scale};
use crate::model::{GpuInput, GpuOutputs, Model, Session};
use std::sync::Arc;

/// Shaders that sample images from textures.
const SAMPLING: &str = "texture/across, texture/down";

/// Shaders that paint maps.
const PAINTING: &str = "texture/heat, texture/paint";

/// Image sizes: downscaled in both directions, in only one, in only the other, and upscaled.
const SIZES: [[usize; 2]; 4] = [[61, 47], [32, 150], [90, 32], [17, 20]];

/// Relative to the largest value. 8-bit levels match bit for bit, but f32 values derived from them may differ in the last digits.
const SAMPLING_BOUND: f64 = 1e-5;

/// For values from 0 to 1 between patch centres, which the device locates by f32 texel coordinates.
const PAINTING_BOUND: f64 = 1e-4;

/// Width and height of the painted texture. Its rows are a multiple of 256 bytes, as copies require.
const CANVAS: [u32; 2] = [64, 40];

type Check = fn(&mut Examined) -> Result<Found>;

/// Runs both checks against the host implementation.
pub(super) fn check(gpu: &Arc<Gpu>, filter: &str) -> Vec<KernelReport> {
    let checks: [(&'static str, Check); 2] = [(SAMPLING, sampling), (PAINTING, painting)];
    let wanted = checks.into_iter().filter(|(kernel, _)| kernel.contains(filter));
    let report = |(kernel, check): (&'static str, Check)| {
        let found = Examined::new(gpu).and_then(|mut examined| check(&mut examined));
        let blank = KernelReport { kernel, cases: 0, worst: String::new(), error: 0.0, bound: 0.0, outcome: Outcome::Right };
        match found {
            Err(error) => KernelReport { outcome: Outcome::Failed(error.to_string()), ..blank },
            Ok(Found { cases, worst, error, bound }) => {
                let outcome = if error <= bound { Outcome::Right } else { Outcome::Wrong(format!("{worst}: off by {error:e}, allowed {bound:e}")) };
                KernelReport { cases, worst, error, bound, outcome, ..blank }
            }
        }
    };
    wanted.map(report).collect()
}

/// Number of cases, and the one with the largest error relative to its bound.
#[derive(Default)]
struct Found {
    cases: usize,
    worst: String,
    error: f64,
    bound: f64,
}

impl Found {
    fn add(&mut self, name: String, error: f64, bound: f64) {
        self.cases += 1;
        if self.cases == 1 || error / bound > self.error / self.bound {
            (self.worst, self.error, self.bound) = (name, error, bound);
        }
    }
}

/// A model on the device under test.
struct Examined {
    gpu: Arc<Gpu>,
    session: Session,
    preprocess: Preprocess,
}

impl Examined {
    fn new(gpu: &Arc<Gpu>) -> Result<Examined> {
        let checkpoint = Checkpoint::digits();
        let preprocess = checkpoint.preprocess.clone().expect("it takes images");
        let session = Model::builder(checkpoint).device(Device::from(gpu.clone())).load_blocking()?.session();
        Ok(Examined { gpu: gpu.clone(), session, preprocess })
    }

    /// Records commands by `record` and executes them.
    fn run<T>(&mut self, record: impl FnOnce(&mut Session, &mut wgpu::CommandEncoder) -> Result<T>) -> Result<T> {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("vitraux.doctor") });
        let recorded = record(&mut self.session, &mut encoder)?;
        pollster::block_on(self.gpu.checked("an examination", || self.gpu.queue.submit([encoder.finish()])))?;
        self.gpu.wait()?;
        Ok(recorded)
    }

    fn forward(&mut self, input: GpuInput<'_>, wanted: &[&str]) -> Result<GpuOutputs> {
        self.run(|session, encoder| session.encode(encoder, input, wanted))
    }

    fn read(&mut self, outputs: &GpuOutputs, name: &str) -> Result<Tensor> {
        let reading = self.run(|_, encoder| Ok(outputs[name].encode_read(encoder)))?;
        pollster::block_on(reading.values())
    }

    fn texture(&self, [width, height]: [u32; 2], format: wgpu::TextureFormat, usage: wgpu::TextureUsages) -> Result<wgpu::Texture> {
        let descriptor = wgpu::TextureDescriptor {
            label: Some("vitraux.doctor"),
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage,
            view_formats: &[],
        };
        pollster::block_on(self.gpu.checked("a texture", || self.gpu.device.create_texture(&descriptor)))
    }
}

/// Compares generated images of several sizes, sampled from textures, with the host's preprocessing.
fn sampling(examined: &mut Examined) -> Result<Found> {
    let mut found = Found::default();
    for [height, width] in SIZES {
        let levels: Vec<u8> = (0..height * width * 3).map(|i| ((i * 7919) % 251 + i % 5) as u8).collect();
        let texels: Vec<u8> = levels.chunks(3).flat_map(|rgb| [rgb[0], rgb[1], rgb[2], 255]).collect();
        let usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST;
        let texture = examined.texture([width as u32, height as u32], wgpu::TextureFormat::Rgba8Unorm, usage)?;
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * width as u32), rows_per_image: None };
        examined.gpu.queue.write_texture(texture.as_image_copy(), &texels, layout, texture.size());
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let pixel_values = examined.preprocess.apply(&Image::new([height, width], 3, levels)?)?;
        let mut embeddings = |input: GpuInput<'_>| {
            let outputs = examined.forward(input, &["embeddings"])?;
            Ok::<_, Error>(examined.read(&outputs, "embeddings")?.values().into_owned())
        };
        let got = embeddings(GpuInput::Images(&[TextureImage::new(&view)]))?;
        let expected = embeddings(GpuInput::Tensor(&pixel_values))?;
        let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs())));
        found.add(format!("an image of {height} x {width}"), apart(&got, &expected), SAMPLING_BOUND * largest);
    }
    Ok(found)
}

/// Compares maps of a generated image, painted on the device and on the host.
fn painting(examined: &mut Examined) -> Result<Found> {
    let config = examined.session.model().config().clone();
    let shape = config.input_shape(1, config.native_size())?;
    let count = shape.iter().product::<usize>();
    let input = Tensor::new(shape, (0..count).map(|i| (i as f32 * 0.07).sin()).collect())?;
    let names = [format!("attn.{}.0", config.depth - 1), "rollout.0".to_owned()];
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let outputs = examined.forward(GpuInput::Tensor(&input), &wanted)?;
    let mut found = Found::default();
    for name in wanted {
        let painting = Painting::default().scale(Scale::Values);
        let got = painted(examined, &outputs, name, &painting)?;
        let output = examined.read(&outputs, name)?;
        let map = outputs[name].map().expect("it is a map");
        let on_host = painting.on_host(map, &output.values(), 1)?;
        let [width, height] = CANVAS.map(|size| size as f32);
        let centres = (0..CANVAS[0] * CANVAS[1]).map(|i| [((i % CANVAS[0]) as f32 + 0.5) / width, ((i / CANVAS[0]) as f32 + 0.5) / height]);
        let expected: Vec<f32> = centres.flat_map(|at| on_host.at(at).into_iter().chain([1.0])).collect();
        found.add(name.to_owned(), apart(&got, &expected), PAINTING_BOUND);
    }
    Ok(found)
}

/// Paints a map on the device and returns its texels.
fn painted(examined: &mut Examined, outputs: &GpuOutputs, name: &str, painting: &Painting) -> Result<Vec<f32>> {
    let usage = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC;
    let texture = examined.texture(CANVAS, wgpu::TextureFormat::Rgba32Float, usage)?;
    let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
    let row = CANVAS[0] * 16;
    let descriptor = wgpu::BufferDescriptor {
        label: Some("vitraux.doctor"),
        size: u64::from(row * CANVAS[1]),
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    };
    let buffer = pollster::block_on(examined.gpu.checked("a painting", || examined.gpu.device.create_buffer(&descriptor)))?;
    examined.run(|_, encoder| {
        outputs[name].paint(encoder, &PaintTarget::new(&view), painting)?;
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
        encoder.copy_texture_to_buffer(texture.as_image_copy(), wgpu::TexelCopyBufferInfo { buffer: &buffer, layout }, texture.size());
        encoder.map_buffer_on_submit(&buffer, wgpu::MapMode::Read, .., |_| ());
        Ok(())
    })?;
    let range = buffer
        .slice(..)
        .get_mapped_range()
        .map_err(|error| Error::device(examined.session.model().device(), format!("a painting cannot be read: {error}")))?;
    Ok(bytemuck::pod_collect_to_vec(&range))
}
