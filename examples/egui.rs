//! Drop an image into the window: its classes appear beside it, and the attention of the class token over it. Click a patch of the image to see its
//! attention. The network runs on the device that eframe draws with.
//!
//!     cargo run --release -p vitraux-egui -- --model FOLDER photo.jpg

use clap::Parser;
use eframe::egui;
use eframe::egui_wgpu::{RenderState, WgpuSetup};
use eframe::wgpu;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vitraux::host::{GpuInput, GpuOutput, PaintTarget, Painting, TextureImage, required_features, required_limits};
use vitraux::{Checkpoint, Device, Image, Model, Session};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Classes and attention of an image, in a window
#[derive(Parser)]
struct Arguments {
    /// A folder of a model; the digits' model without
    #[arg(long)]
    model: Option<PathBuf>,
    /// An image to begin with
    image: Option<PathBuf>,
}

fn main() -> eframe::Result {
    let arguments = Arguments::parse();
    let mut options = eframe::NativeOptions::default();
    options.viewport = options.viewport.with_inner_size([900.0, 600.0]);
    if let WgpuSetup::CreateNew(setup) = &mut options.wgpu_options.wgpu_setup {
        // eframe's own device, with the features and limits of vitraux added.
        let own = setup.device_descriptor.clone();
        setup.device_descriptor = Arc::new(move |adapter| {
            let own = own(adapter);
            let required_limits = own.required_limits.clone().or_better_values_from(&required_limits(adapter));
            wgpu::DeviceDescriptor { required_features: own.required_features | required_features(adapter), required_limits, ..own }
        });
    }
    eframe::run_native("vitraux", options, Box::new(|creation| Ok(Box::new(App::new(creation, arguments)?))))
}

struct App {
    render: RenderState,
    session: Session,
    opened: Option<Opened>,
    /// Error of the last attempt to open an image or to paint its attention.
    failure: Option<String>,
    /// Row and column of the patch whose attention is shown, or `None` for the first token, usually the class token.
    patch: Option<[usize; 2]>,
    /// Head whose attention is shown, or `None` for the mean of all heads.
    head: Option<usize>,
}

/// Image with the results of the model.
struct Opened {
    size: [usize; 2],
    /// Part of the image that the model sees: left, top, width and height in pixels.
    seen: [f64; 4],
    attention: GpuOutput,
    /// Labels and probabilities, most probable first.
    classes: Vec<(String, f32)>,
    image: Shown,
    overlay: Shown,
}

/// Texture that egui shows.
struct Shown {
    view: wgpu::TextureView,
    id: egui::TextureId,
}

impl App {
    fn new(creation: &eframe::CreationContext<'_>, arguments: Arguments) -> Result<App> {
        let render = creation.wgpu_render_state.clone().ok_or("eframe draws without wgpu")?;
        let checkpoint = match &arguments.model {
            Some(folder) => Checkpoint::open(folder)?,
            None => Checkpoint::digits(),
        };
        let lent = Device::from_wgpu(&render.adapter, render.device.clone(), render.queue.clone());
        let session = Model::builder(checkpoint).device(lent).load_blocking()?.session();
        let mut app = App { render, session, opened: None, failure: None, patch: None, head: None };
        if let Some(image) = &arguments.image {
            app.open(image);
        }
        Ok(app)
    }

    fn open(&mut self, file: &Path) {
        match Image::open(file).map_err(Into::into).and_then(|image| self.look_at(&image)) {
            Ok(opened) => {
                // egui keeps textures until they are freed.
                for shown in self.opened.replace(opened).iter().flat_map(|old| [&old.image, &old.overlay]) {
                    self.render.renderer.write().free_texture(&shown.id);
                }
                (self.failure, self.patch) = (None, None);
                self.paint();
            }
            Err(error) => self.failure = Some(error.to_string()),
        }
    }

    /// Runs the model on an image and waits for its classes. Its attention stays on the device.
    fn look_at(&mut self, image: &Image) -> Result<Opened> {
        let size = [image.height, image.width];
        let largest = self.render.device.limits().max_texture_dimension_2d as usize;
        if size.iter().any(|size| *size > largest) {
            return Err(format!("an image of {} x {} pixels; the device takes {largest} at the most", image.width, image.height).into());
        }
        let texture = self.texture(size, wgpu::TextureUsages::COPY_DST);
        let view = texture.create_view(&Default::default());
        let opaque = |pixel: &[u8]| [pixel[0], pixel[pixel.len() / 2], pixel[pixel.len() - 1], 255];
        let levels: Vec<u8> = image.data.chunks_exact(image.channels).flat_map(opaque).collect();
        let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(4 * image.width as u32), rows_per_image: None };
        self.render.queue.write_texture(texture.as_image_copy(), &levels, layout, texture.size());

        let attention = format!("attn.{}", self.session.model().config().depth - 1);
        let mut encoder = self.render.device.create_command_encoder(&Default::default());
        let input = GpuInput::Images(&[TextureImage::new(&view)]);
        let outputs = self.session.encode(&mut encoder, input, &["probabilities", &attention])?;
        let probabilities = outputs["probabilities"].encode_read(&mut encoder).values();
        self.render.queue.submit([encoder.finish()]);
        let probabilities = self.wait_for(probabilities)?;

        let config = self.session.model().config();
        let labels = config.default_classifiers().first().map_or(&[][..], |(_, classifier)| &classifier.labels).to_vec();
        let label = |class: usize| labels.get(class).cloned().unwrap_or_else(|| class.to_string());
        let mut classes: Vec<_> = probabilities.values().iter().enumerate().map(|(class, probability)| (label(class), *probability)).collect();
        classes.sort_by(|a, b| b.1.total_cmp(&a.1));
        let seen = self.session.model().preprocess().ok_or("the model takes no images")?.seen(size)?;
        let overlay = self.texture(size, wgpu::TextureUsages::RENDER_ATTACHMENT).create_view(&Default::default());
        let [image, overlay] = [view, overlay].map(|view| self.shown(view));
        Ok(Opened { size, seen, attention: outputs[&attention].clone(), classes, image, overlay })
    }

    /// Polls the device, as the host must, until a result is ready.
    fn wait_for<T: Send + 'static>(&self, result: impl Future<Output = vitraux::Result<T>> + Send + 'static) -> Result<T> {
        let reader = std::thread::spawn(move || pollster::block_on(result));
        while !reader.is_finished() {
            self.render.device.poll(wgpu::PollType::wait_indefinitely())?;
        }
        Ok(reader.join().expect("it does not panic")?)
    }

    /// Creates a texture in the format that egui shows.
    fn texture(&self, [height, width]: [usize; 2], usage: wgpu::TextureUsages) -> wgpu::Texture {
        self.render.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: usage | wgpu::TextureUsages::TEXTURE_BINDING,
            view_formats: &[],
        })
    }

    fn shown(&self, view: wgpu::TextureView) -> Shown {
        let id = self.render.renderer.write().register_native_texture(&self.render.device, &view, wgpu::FilterMode::Linear);
        Shown { view, id }
    }

    /// Draws the selected attention into the overlay. The values are already on the device.
    fn paint(&mut self) {
        let Some(Opened { seen, attention, overlay, .. }) = &self.opened else { return };
        let columns = attention.map().map_or(1, |map| map.grid[1]);
        let prefix = self.session.model().config().prefix_tokens;
        let query = self.patch.map_or(0, |[row, column]| prefix + row * columns + column);
        let painting = Painting::default().query(query).head(self.head);
        let target = PaintTarget::new(&overlay.view).rectangle(seen.map(|value| value as f32));
        let mut encoder = self.render.device.create_command_encoder(&Default::default());
        self.failure = attention.paint(&mut encoder, &target, &painting).err().map(|error| error.to_string());
        self.render.queue.submit([encoder.finish()]);
    }

    /// Shows the classes, and the choice of patch and head.
    fn sidebar(&mut self, ui: &mut egui::Ui) {
        let Some(opened) = &self.opened else {
            ui.label("Drop an image here.");
            return;
        };
        for (label, probability) in opened.classes.iter().take(8) {
            ui.add(egui::ProgressBar::new(*probability).text(format!("{label}  {:.1} %", 100.0 * probability)));
        }
        ui.separator();
        let before = (self.patch, self.head);
        match self.patch {
            None if !self.session.model().config().class_token => ui.label("no class token: click a patch; this is what the first one attends to"),
            None => ui.label("what the class token attends to"),
            Some([row, column]) => ui.label(format!("what the patch in row {row}, column {column} attends to")),
        };
        if self.patch.is_some() && ui.button("back").clicked() {
            self.patch = None;
        }
        let name = |head: Option<usize>| head.map_or("mean of the heads".to_owned(), |head| format!("head {head}"));
        egui::ComboBox::from_id_salt("head").selected_text(name(self.head)).show_ui(ui, |ui| {
            for head in std::iter::once(None).chain((0..self.session.model().config().heads).map(Some)) {
                ui.selectable_value(&mut self.head, head, name(head));
            }
        });
        if before != (self.patch, self.head) {
            self.paint();
        }
    }

    /// Shows the image with the attention blended over it. A click selects a patch.
    fn show_image(&mut self, ui: &mut egui::Ui) {
        let Some(opened) = &self.opened else { return };
        let size = egui::vec2(opened.size[1] as f32, opened.size[0] as f32);
        let scale = (ui.available_size() / size).min_elem();
        let (rectangle, response) = ui.allocate_exact_size(size * scale, egui::Sense::click());
        let whole = egui::Rect::from_min_max(egui::pos2(0.0, 0.0), egui::pos2(1.0, 1.0));
        ui.painter().image(opened.image.id, rectangle, whole, egui::Color32::WHITE);
        ui.painter().image(opened.overlay.id, rectangle, whole, egui::Color32::from_white_alpha(140));
        let Some(at) = response.interact_pointer_pos().filter(|_| response.clicked()) else { return };
        let at = (at - rectangle.min) / scale;
        let [left, top, width, height] = opened.seen.map(|value| value as f32);
        let Some(map) = opened.attention.map() else { return };
        let place = |at: f32, start: f32, size: f32, axis: usize| ((at - start) / size / map.share[axis] * map.grid[axis] as f32).floor();
        let [row, column] = [place(at.y, top, height, 0), place(at.x, left, width, 1)];
        let is_inside = |place: f32, axis: usize| (0.0..map.grid[axis] as f32).contains(&place);
        self.patch = (is_inside(row, 0) && is_inside(column, 1)).then_some([row as usize, column as usize]);
        self.paint();
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        let dropped = ui.input(|input| input.raw.dropped_files.first().map(|file| file.path().to_owned()));
        if let Some(file) = dropped {
            self.open(&file);
        }
        egui::Panel::right("classes").show(ui, |ui| {
            self.sidebar(ui);
            if let Some(failure) = &self.failure {
                ui.colored_label(egui::Color32::RED, failure);
            }
        });
        egui::CentralPanel::default().show(ui, |ui| self.show_image(ui));
    }
}
