//! Puts fog into a photo by the depth that a model sees in it: the network and the fog are passes of one command buffer, and depth never leaves the device.
//!
//!     cargo run --release --example depth -- IMAGE OUTPUT.png MODEL_FOLDER

use vitraux::host::{GpuInput, PaintTarget, Painting, Scale, TextureImage, required_features, required_limits};
use vitraux::{Checkpoint, Device, Model};
use wgpu::TextureUsages as Usage;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Format of the photo and of the result.
const FORMAT: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8UnormSrgb;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [photo, output, folder] = arguments.as_slice() else { return Err("expected IMAGE OUTPUT.png MODEL_FOLDER".into()) };
    let fogged = pollster::block_on(fogged(image::open(photo)?.to_rgba8(), Checkpoint::open(folder)?))?;
    fogged.save(output)?;
    println!("{output}");
    Ok(())
}

async fn fogged(photo: image::RgbaImage, checkpoint: Checkpoint) -> Result<image::RgbaImage> {
    // A graphics program has a device, a photo in a texture and a pipeline already.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let descriptor = wgpu::DeviceDescriptor {
        required_features: required_features(&adapter),
        required_limits: wgpu::Limits::default().or_better_values_from(&required_limits(&adapter)),
        ..Default::default()
    };
    let (device, queue) = adapter.request_device(&descriptor).await?;
    let size = wgpu::Extent3d { width: photo.width(), height: photo.height(), depth_or_array_layers: 1 };
    let seen = texture(&device, size, FORMAT, Usage::TEXTURE_BINDING | Usage::COPY_DST);
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * size.width), rows_per_image: None };
    queue.write_texture(seen.as_image_copy(), &photo, layout, size);
    let depth = texture(&device, size, wgpu::TextureFormat::R32Float, Usage::RENDER_ATTACHMENT | Usage::TEXTURE_BINDING);
    let frame = texture(&device, size, FORMAT, Usage::RENDER_ATTACHMENT | Usage::COPY_SRC);
    let [seen_view, depth_view, frame_view] = [&seen, &depth, &frame].map(|texture| texture.create_view(&Default::default()));
    let head = checkpoint.config().depth_head().ok_or("expected a model that predicts depth")?;
    let pipeline = pipeline(&device, head.metres().is_some());

    // In a frame: the model looks at the texture, and its depth is painted into another one as it is.
    let lent = Device::from_wgpu(&adapter, device.clone(), queue.clone());
    let mut session = Model::builder(checkpoint).device(lent).load().await?.session();
    let mut encoder = device.create_command_encoder(&Default::default());
    let outputs = session.encode(&mut encoder, GpuInput::Images(&[TextureImage::new(&seen_view)]), &["predicted_depth"])?;
    let raw = Painting::default().scale(Scale::Values);
    outputs["predicted_depth"].paint(&mut encoder, &PaintTarget::new(&depth_view), &raw)?;
    draw(&device, &mut encoder, &pipeline, [&seen_view, &depth_view], &frame_view);

    // Rows of a buffer are multiples of 256 bytes.
    let row = (4 * size.width).next_multiple_of(256);
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let bytes = u64::from(row * size.height);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false });
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
    encoder.copy_texture_to_buffer(frame.as_image_copy(), wgpu::TexelCopyBufferInfo { buffer: &buffer, layout }, size);
    queue.submit([encoder.finish()]);
    buffer.map_async(wgpu::MapMode::Read, .., |_| ());
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let range = buffer.slice(..).get_mapped_range()?;
    let rows = range.chunks(row as usize).flat_map(|line| line[..4 * size.width as usize].to_vec());
    Ok(image::RgbaImage::from_raw(size.width, size.height, rows.collect()).ok_or("a frame of another size")?)
}

fn texture(device: &wgpu::Device, size: wgpu::Extent3d, format: wgpu::TextureFormat, usage: Usage) -> wgpu::Texture {
    device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format,
        usage,
        view_formats: &[],
    })
}

fn pipeline(device: &wgpu::Device, is_in_metres: bool) -> wgpu::RenderPipeline {
    let module = device.create_shader_module(wgpu::include_wgsl!("depth.wgsl"));
    let constants = [("METRES", f64::from(u8::from(is_in_metres)))];
    let compilation_options = wgpu::PipelineCompilationOptions { constants: &constants, ..Default::default() };
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: None,
        layout: None,
        vertex: wgpu::VertexState { module: &module, entry_point: None, compilation_options: compilation_options.clone(), buffers: &[] },
        fragment: Some(wgpu::FragmentState { module: &module, entry_point: None, compilation_options, targets: &[Some(FORMAT.into())] }),
        primitive: Default::default(),
        depth_stencil: None,
        multisample: Default::default(),
        multiview_mask: None,
        cache: None,
    })
}

/// Records the pass that draws the fog.
fn draw(
    device: &wgpu::Device,
    encoder: &mut wgpu::CommandEncoder,
    pipeline: &wgpu::RenderPipeline,
    views: [&wgpu::TextureView; 2],
    to: &wgpu::TextureView,
) {
    let entry = |binding: usize| wgpu::BindGroupEntry { binding: binding as u32, resource: wgpu::BindingResource::TextureView(views[binding]) };
    let layout = pipeline.get_bind_group_layout(0);
    let bindings = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &[entry(0), entry(1)] });
    let ops = wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::BLACK), store: wgpu::StoreOp::Store };
    let attachment = wgpu::RenderPassColorAttachment { view: to, depth_slice: None, resolve_target: None, ops };
    let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor { color_attachments: &[Some(attachment)], ..Default::default() });
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, &bindings, &[]);
    pass.draw(0..3, 0..1);
}
