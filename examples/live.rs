//! Live renderer whose frames a model looks at: each frame draws a scene, records a slice of a forward pass within a budget, and lays the attention
//! of the class token over the scene. The GPU never waits for the network, and only the probabilities are read back.
//!
//!     cargo run --release -p vitraux-live
//!     cargo run --release -p vitraux-live -- --model FOLDER --image photo.jpg
//!     cargo run --release -p vitraux-live -- --headless 60 --output frames

use clap::Parser;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use vitraux::host::{Budget, GpuInput, GpuJob, GpuOutput, PaintTarget, Painting, TextureImage, required_features, required_limits};
use vitraux::{Checkpoint, Device, Model, Session, Tensor};
use winit::application::ApplicationHandler;
use winit::event::WindowEvent;
use winit::event_loop::{ActiveEventLoop, EventLoop};
use winit::window::{Window, WindowId};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Edge length in texels of the scene, which the model looks at.
const EDGE: u32 = 480;

/// Frames per digit, to write it and to keep it.
const FRAMES_OF_A_DIGIT: u32 = 60;

/// A scene on the left, what the model attends to on the right
#[derive(Parser)]
struct Arguments {
    /// A folder of a model; the digits' model without
    #[arg(long)]
    model: Option<PathBuf>,
    /// An image to turn slowly; without one, digits are written
    #[arg(long)]
    image: Option<PathBuf>,
    /// Microseconds of the GPU's time that the network may take in a frame
    #[arg(long, default_value_t = 2000)]
    budget: u32,
    /// Renders so many frames without a window
    #[arg(long, value_name = "FRAMES")]
    headless: Option<u32>,
    /// Where the frames of --headless are written, as PNG
    #[arg(long, value_name = "FOLDER", default_value = "frames")]
    output: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.headless {
        Some(frames) => headless(&arguments, frames),
        None => Ok(EventLoop::new()?.run_app(&mut App { arguments, shown: None })?),
    }
}

/// Uniforms of the scene, as in `live.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Scene {
    origin: [f32; 2],
    size: f32,
    points: u32,
    turn: [f32; 2],
    has_photo: u32,
    padding: u32,
    line: [[f32; 4]; 16],
}

/// State that frames need, with or without a window.
struct Show {
    device: wgpu::Device,
    queue: wgpu::Queue,
    scenes: wgpu::RenderPipeline,
    photo: wgpu::TextureView,
    has_photo: bool,
    /// The scene as the model sees it.
    seen: wgpu::TextureView,
    session: Session,
    wanted: [String; 2],
    budget: Budget,
    /// Forward pass in progress.
    job: Option<GpuJob>,
    /// Attention of the last forward pass.
    map: Option<GpuOutput>,
    /// Probabilities being read back.
    reading: Option<Pin<Box<dyn Future<Output = vitraux::Result<Tensor>>>>>,
    /// Best class and its probability.
    answer: String,
    frame: u32,
}

impl Show {
    async fn new(adapter: &wgpu::Adapter, format: wgpu::TextureFormat, arguments: &Arguments) -> Result<Show> {
        // The program's own device, with the features and limits of vitraux added.
        let descriptor = wgpu::DeviceDescriptor {
            required_features: required_features(adapter),
            required_limits: wgpu::Limits::default().or_better_values_from(&required_limits(adapter)),
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await?;
        let checkpoint = match &arguments.model {
            Some(folder) => Checkpoint::open(folder)?,
            None => Checkpoint::digits(),
        };
        let lent = Device::from_wgpu(adapter, device.clone(), queue.clone());
        let mut session = Model::builder(checkpoint).device(lent).load().await?.session();
        let wanted = ["probabilities".to_owned(), format!("attn.{}.0", session.model().config().depth - 1)];
        warm_up(&mut session, &wanted).await?;
        let pixels = match &arguments.image {
            Some(file) => image::open(file)?.to_rgba8(),
            None => image::RgbaImage::new(1, 1),
        };
        let usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST;
        let photo = texture(&device, format, [pixels.width(), pixels.height()], usage);
        let levels = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * pixels.width()), rows_per_image: None };
        queue.write_texture(photo.as_image_copy(), &ordered(pixels, format), levels, photo.size());
        let seen = texture(&device, format, [EDGE; 2], wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING);
        Ok(Show {
            scenes: pipeline(&device, format),
            photo: photo.create_view(&Default::default()),
            has_photo: arguments.image.is_some(),
            seen: seen.create_view(&Default::default()),
            device,
            queue,
            session,
            wanted,
            budget: Budget::microseconds(arguments.budget),
            job: None,
            map: None,
            reading: None,
            answer: "?".to_owned(),
            frame: 0,
        })
    }

    /// Draws a frame into a texture of twice the scene's width and submits it.
    fn draw(&mut self, view: &wgpu::TextureView) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        self.scene(&mut encoder, &self.seen, &[0]);
        self.scene(&mut encoder, view, &[0, EDGE]);
        self.think(&mut encoder)?;
        if let Some(map) = &self.map {
            let rectangle = Some([EDGE as f32, 0.0, EDGE as f32, EDGE as f32]);
            map.paint(&mut encoder, &PaintTarget::new(view).rectangle(rectangle), &Painting::default().opacity(0.6))?;
        }
        self.queue.submit([encoder.finish()]);
        self.frame += 1;
        self.listen()
    }

    /// Records a slice of the forward pass, or of a new one if none is in progress.
    fn think(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let mut job = match self.job.take() {
            Some(job) => job,
            None => {
                let wanted = self.wanted.each_ref().map(String::as_str);
                self.session.start(GpuInput::Images(&[TextureImage::new(&self.seen)]), &wanted)?
            }
        };
        if job.encode_slice(encoder, self.budget) {
            let outputs = job.outputs();
            // Earlier probabilities may still be in flight.
            if self.reading.is_none() {
                self.reading = Some(Box::pin(outputs[&self.wanted[0]].encode_read(encoder).values()));
            }
            self.map = Some(outputs[&self.wanted[1]].clone());
        } else {
            self.job = Some(job);
        }
        Ok(())
    }

    /// Takes the probabilities if they have arrived. Never waits for them.
    fn listen(&mut self) -> Result<()> {
        self.device.poll(wgpu::PollType::Poll)?;
        let Some(reading) = &mut self.reading else { return Ok(()) };
        if let Poll::Ready(probabilities) = reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            let probabilities = probabilities?;
            let (best, probability) = probabilities.values().iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
            let answers = self.session.model().config().default_classifiers();
            let label = answers.first().and_then(|(_, classifier)| classifier.labels.get(best).cloned()).unwrap_or(best.to_string());
            self.answer = format!("{label} ({:.0} %)", 100.0 * probability);
            self.reading = None;
        }
        Ok(())
    }

    /// Draws the scene into squares of a texture that begin at the given columns.
    fn scene(&self, encoder: &mut wgpu::CommandEncoder, view: &wgpu::TextureView, columns: &[u32]) {
        let attachment = wgpu::RenderPassColorAttachment { view, depth_slice: None, resolve_target: None, ops: Default::default() };
        let descriptor = wgpu::RenderPassDescriptor { color_attachments: &[Some(attachment)], ..Default::default() };
        let mut pass = encoder.begin_render_pass(&descriptor);
        pass.set_pipeline(&self.scenes);
        for &column in columns {
            let usage = wgpu::BufferUsages::UNIFORM;
            let parameters = wgpu::BufferDescriptor { label: None, size: size_of::<Scene>() as u64, usage, mapped_at_creation: true };
            let buffer = self.device.create_buffer(&parameters);
            buffer.slice(..).get_mapped_range_mut().expect("it is mapped").copy_from_slice(bytemuck::bytes_of(&self.parameters(column)));
            buffer.unmap();
            let sampler = self.device.create_sampler(&wgpu::SamplerDescriptor { mag_filter: wgpu::FilterMode::Linear, ..Default::default() });
            let entries = [buffer.as_entire_binding(), wgpu::BindingResource::TextureView(&self.photo), wgpu::BindingResource::Sampler(&sampler)];
            let entries: Vec<_> = (0..).zip(entries).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
            let layout = self.scenes.get_bind_group_layout(0);
            let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
            pass.set_viewport(column as f32, 0.0, EDGE as f32, EDGE as f32, 0.0, 1.0);
            pass.set_bind_group(0, &bindings, &[]);
            pass.draw(0..3, 0..1);
        }
    }

    fn parameters(&self, column: u32) -> Scene {
        let time = self.frame as f32 / FRAMES_OF_A_DIGIT as f32;
        let strokes = DIGITS[time as usize % DIGITS.len()].iter();
        let point = |(i, [x, y]): (usize, &[u8; 2])| [f32::from(*x) / 100.0, f32::from(*y) / 100.0, f32::from(u8::from(i == 0)), 0.0];
        let written: Vec<[f32; 4]> = strokes.flat_map(|stroke| stroke.iter().enumerate().map(point)).collect();
        // The digit is written during the first half of its frames.
        let points = ((2.0 * time.fract() * written.len() as f32) as usize + 2).min(written.len());
        let mut line = [[0.0; 4]; 16];
        line[..points].copy_from_slice(&written[..points]);
        let (sine, cosine) = (0.15 * (2.0 * time).sin()).sin_cos();
        let origin = [column as f32, 0.0];
        let has_photo = u32::from(self.has_photo);
        Scene { origin, size: EDGE as f32, points: points as u32, turn: [cosine, sine], has_photo, padding: 0, line }
    }
}

/// Compiles the kernels before the first frame, and times the steps of the network to cut slices by.
async fn warm_up(session: &mut Session, wanted: &[String; 2]) -> Result<()> {
    let wanted = wanted.each_ref().map(String::as_str);
    let patches = session.model().config().patches().ok_or("the model takes no images")?;
    let shape = [1, patches.channels, patches.image[0], patches.image[1]];
    let start = Instant::now();
    session.warm_up(&shape, &wanted, |done, all| eprint!("\rcompiling {done} of {all}")).await?;
    eprintln!("\ncompiled in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    match session.profile_blocking(&Tensor::zeros(shape), &wanted) {
        Ok(timings) => eprintln!("a forward pass takes {:.2} ms", timings.iter().map(|timing| timing.seconds).sum::<f64>() * 1e3),
        Err(error) => eprintln!("{error}; slices are cut by an estimate"),
    }
    Ok(())
}

fn texture(device: &wgpu::Device, format: wgpu::TextureFormat, [width, height]: [u32; 2], usage: wgpu::TextureUsages) -> wgpu::Texture {
    let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
    let dimension = wgpu::TextureDimension::D2;
    device.create_texture(&wgpu::TextureDescriptor {
        label: None,
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension,
        format,
        usage,
        view_formats: &[],
    })
}

/// Returns the bytes of an image in the channel order of a format.
fn ordered(pixels: image::RgbaImage, format: wgpu::TextureFormat) -> Vec<u8> {
    let mut bytes = pixels.into_raw();
    if format.remove_srgb_suffix() == wgpu::TextureFormat::Bgra8Unorm {
        bytes.chunks_exact_mut(4).for_each(|pixel| pixel.swap(0, 2));
    }
    bytes
}

fn pipeline(device: &wgpu::Device, format: wgpu::TextureFormat) -> wgpu::RenderPipeline {
    let module = device.create_shader_module(wgpu::include_wgsl!("live.wgsl"));
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: None,
        layout: None,
        vertex: wgpu::VertexState { module: &module, entry_point: None, compilation_options: Default::default(), buffers: &[] },
        fragment: Some(wgpu::FragmentState {
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            targets: &[Some(format.into())],
        }),
        primitive: Default::default(),
        depth_stencil: None,
        multisample: Default::default(),
        multiview_mask: None,
        cache: None,
    })
}

/// Renders frames to PNG files.
fn headless(arguments: &Arguments, frames: u32) -> Result<()> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let format = wgpu::TextureFormat::Rgba8UnormSrgb;
    let mut show = pollster::block_on(Show::new(&adapter, format, arguments))?;
    let usage = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC;
    let frame = texture(&show.device, format, [2 * EDGE, EDGE], usage);
    let view = frame.create_view(&Default::default());
    std::fs::create_dir_all(&arguments.output)?;
    for number in 0..frames {
        show.draw(&view)?;
        let pixels = image::RgbaImage::from_raw(2 * EDGE, EDGE, pixels(&show, &frame)?).ok_or("a frame of another size")?;
        pixels.save(arguments.output.join(format!("{number:04}.png")))?;
        println!("frame {number}: {}", show.answer);
    }
    Ok(())
}

/// Reads back the bytes of a texture, whose rows must be multiples of 256 bytes.
fn pixels(show: &Show, texture: &wgpu::Texture) -> Result<Vec<u8>> {
    let row = 4 * texture.width();
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let size = u64::from(row * texture.height());
    let buffer = show.device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    let mut encoder = show.device.create_command_encoder(&Default::default());
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), wgpu::TexelCopyBufferInfo { buffer: &buffer, layout }, texture.size());
    show.queue.submit([encoder.finish()]);
    buffer.map_async(wgpu::MapMode::Read, .., |_| ());
    show.device.poll(wgpu::PollType::wait_indefinitely())?;
    Ok(buffer.slice(..).get_mapped_range()?.to_vec())
}

/// Program with a window.
struct App {
    arguments: Arguments,
    shown: Option<Shown>,
}

struct Shown {
    window: Arc<Window>,
    surface: wgpu::Surface<'static>,
    config: wgpu::SurfaceConfiguration,
    show: Show,
}

impl App {
    fn open(&self, events: &ActiveEventLoop) -> Result<Shown> {
        let size = winit::dpi::PhysicalSize::new(2 * EDGE, EDGE);
        let window = Arc::new(events.create_window(Window::default_attributes().with_inner_size(size).with_resizable(false))?);
        let display = Box::new(events.owned_display_handle());
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_with_display_handle(display));
        let surface = instance.create_surface(window.clone())?;
        let wanted = wgpu::RequestAdapterOptions { compatible_surface: Some(&surface), ..Default::default() };
        let adapter = pollster::block_on(instance.request_adapter(&wanted))?;
        let config = surface.get_default_config(&adapter, 2 * EDGE, EDGE).ok_or("the adapter cannot draw into the window")?;
        let show = pollster::block_on(Show::new(&adapter, config.format, &self.arguments))?;
        surface.configure(&show.device, &config);
        Ok(Shown { window, surface, config, show })
    }
}

impl ApplicationHandler for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        match self.open(events) {
            Ok(shown) => self.shown = Some(shown),
            Err(error) => {
                eprintln!("error: {error}");
                events.exit();
            }
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        let Some(Shown { window, surface, config, show }) = &mut self.shown else { return };
        match event {
            WindowEvent::CloseRequested => events.exit(),
            WindowEvent::RedrawRequested => {
                use wgpu::CurrentSurfaceTexture::{Lost, Outdated, Suboptimal, Success};
                match surface.get_current_texture() {
                    Success(frame) | Suboptimal(frame) => {
                        if let Err(error) = show.draw(&frame.texture.create_view(&Default::default())) {
                            eprintln!("error: {error}");
                            events.exit();
                        }
                        show.queue.present(frame);
                        window.set_title(&format!("vitraux: {}", show.answer));
                    }
                    Outdated | Lost => surface.configure(&show.device, config),
                    // The window is not visible; try again a little later.
                    _ => std::thread::sleep(std::time::Duration::from_millis(50)),
                }
                window.request_redraw();
            }
            _ => (),
        }
    }
}

/// Pen strokes of the digits: points in hundredths of the scene's edge.
const DIGITS: [&[&[[u8; 2]]]; 10] = [
    &[&[[50, 18], [40, 23], [34, 38], [33, 55], [37, 72], [46, 82], [56, 81], [64, 70], [67, 53], [65, 35], [59, 22], [50, 18]]],
    &[&[[40, 32], [52, 18], [52, 50], [52, 82]]],
    &[&[[33, 33], [38, 22], [50, 18], [62, 23], [66, 35], [60, 48], [48, 62], [33, 80], [50, 80], [69, 80]]],
    &[&[[34, 25], [45, 18], [60, 20], [66, 32], [60, 44], [47, 48], [62, 52], [68, 66], [60, 79], [45, 82], [33, 75]]],
    &[&[[50, 18], [42, 38], [32, 58], [52, 58], [70, 58]], &[[58, 40], [58, 84]]],
    &[&[[66, 20], [40, 20], [37, 46], [50, 42], [64, 50], [68, 64], [60, 78], [46, 82], [34, 76]]],
    &[&[[58, 18], [45, 30], [37, 48], [35, 66], [43, 80], [57, 81], [66, 69], [61, 56], [48, 54], [37, 65]]],
    &[&[[33, 20], [50, 20], [68, 20], [56, 42], [48, 62], [44, 82]]],
    &[&[[50, 48], [38, 38], [38, 25], [50, 18], [62, 25], [62, 38], [50, 48], [36, 60], [36, 75], [50, 82], [64, 75], [64, 60], [50, 48]]],
    &[&[[64, 36], [55, 47], [42, 46], [36, 35], [40, 22], [52, 18], [63, 24], [64, 36], [62, 60], [56, 82]]],
];
