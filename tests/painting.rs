//! Maps of an image in textures of a host.

use crate::support::host::{Host, alone, image};
use crate::support::path;
use std::sync::atomic::Ordering;
use vitraux::config::Map;
use vitraux::host::GpuInput;
use vitraux::host::{Painting, Scale};
use vitraux::low_level::checkpoint::open_tensor;
use vitraux::low_level::gpu::{PaintTarget, required_features};
use vitraux::{Checkpoint, Device, Model, Tensor};

/// A texture that maps are drawn into, all of it of one colour.
fn canvas(host: &Host, format: wgpu::TextureFormat, [width, height]: [u32; 2], bytes: &[u8]) -> wgpu::Texture {
    let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
    let usage = wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC | wgpu::TextureUsages::COPY_DST;
    let dimension = wgpu::TextureDimension::D2;
    let descriptor = wgpu::TextureDescriptor { label: None, size, mip_level_count: 1, sample_count: 1, dimension, format, usage, view_formats: &[] };
    let texture = host.device.create_texture(&descriptor);
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(width * bytes.len() as u32), rows_per_image: None };
    host.queue.write_texture(texture.as_image_copy(), &bytes.repeat((width * height) as usize), layout, size);
    texture
}

/// The bytes of a texture whose rows are multiples of 256.
fn texels(host: &Host, texture: &wgpu::Texture) -> Vec<u8> {
    let row = texture.width() * texture.format().block_copy_size(None).expect("it has one");
    let buffer = host.buffer(&vec![0.0; (row * texture.height() / 4) as usize], wgpu::BufferUsages::MAP_READ);
    let mut encoder = host.encoder();
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row), rows_per_image: None };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), wgpu::TexelCopyBufferInfo { buffer: &buffer, layout }, texture.size());
    host.submit(Some(encoder));
    buffer.map_async(wgpu::MapMode::Read, .., |result| result.expect("it is mapped"));
    host.wait();
    buffer.slice(..).get_mapped_range().expect("it is mapped").to_vec()
}

/// The values of a grid between its centres, for each texel of a size.
fn between(grid: &[f64], [rows, columns]: [usize; 2], channels: usize, [width, height]: [u32; 2]) -> Vec<f64> {
    let place =
        |texel: u32, size: u32, count: usize| ((f64::from(texel) + 0.5) / f64::from(size) * count as f64 - 0.5).clamp(0.0, count as f64 - 1.0);
    let mut values = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let (down, across) = (place(y, height, rows), place(x, width, columns));
        for channel in 0..channels {
            let at = |row: usize, column: usize| grid[(row.min(rows - 1) * columns + column.min(columns - 1)) * channels + channel];
            let (row, column) = (down as usize, across as usize);
            let line = |row| at(row, column) * (1.0 - across.fract()) + at(row, column + 1) * across.fract();
            values.push(line(row) * (1.0 - down.fract()) + line(row + 1) * down.fract());
        }
    }
    values
}

/// The weights that a query gives to patches, averaged over heads and stretched from 0 to 1: from `attn.i` `[B, H, N, N]`.
fn heat(attention: &Tensor, image: usize, query: usize, heads: std::ops::Range<usize>, first: usize) -> Vec<f64> {
    let &[_, all, _, tokens] = attention.shape() else { panic!("attention") };
    let values = attention.values();
    let weight = |p: usize| heads.clone().map(|h| f64::from(values[((image * all + h) * tokens + query) * tokens + p])).sum::<f64>();
    let weights: Vec<f64> = (first..tokens).map(weight).collect();
    let (least, most) = weights.iter().fold((f64::MAX, f64::MIN), |(least, most), weight| (least.min(*weight), most.max(*weight)));
    weights.iter().map(|weight| (weight - least) / (most - least)).collect()
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().expect("four")))).collect()
}

fn off_by(a: impl Iterator<Item = f64>, b: impl Iterator<Item = f64>) -> f64 {
    a.zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Maps are drawn as they are computed from the taps, whichever output they come from.
#[test]
fn maps_are_painted_into_host_textures() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = host.session();
    let input = Tensor::new([2, 1, 32, 32], [image(7), image(8)].iter().flat_map(|tensor| tensor.values().to_vec()).collect()).expect("a tensor");
    let wanted = ["attn.3", "attn.3.0", "attn.3.17", "rollout", "rollout.5", "pca"];
    let [first, tokens] =
        [session.model().config().prefix_tokens, session.model().config().tokens(session.model().config().native_size()).expect("a number")];
    let grid = session.model().config().map(session.model().config().native_size(), "pca").expect("a map").grid;
    let expected = alone(&input, &wanted);
    let mut encoder = host.encoder();
    let outputs = session.encode(&mut encoder, GpuInput::Tensor(&input), &wanted).expect("it is recorded");
    host.submit(Some(encoder));
    // Of both images: the class token, another one, one head, from the whole matrix and from a row of it; and the rollout as a matrix of one head.
    let attention = &expected["attn.3"];
    let rollout = Tensor::new([2, 1, tokens, tokens], expected["rollout"].values().to_vec()).expect("a tensor");
    let cases = [
        ("attn.3", Painting::default().image(1), heat(attention, 1, 0, 0..4, first)),
        ("attn.3", Painting::default().query(17).head(2), heat(attention, 0, 17, 2..3, first)),
        ("attn.3.0", Painting::default().image(1), heat(attention, 1, 0, 0..4, first)),
        ("attn.3.17", Painting::default().head(2), heat(attention, 0, 17, 2..3, first)),
        ("rollout", Painting::default().image(1).query(5), heat(&rollout, 1, 5, 0..1, first)),
        ("rollout.5", Painting::default().image(1), heat(&rollout, 1, 5, 0..1, first)),
    ];
    let size = [64, 40];
    for (name, painting, grid_values) in cases {
        let values = painting.clone().scale(Scale::Values);
        let texture = canvas(&host, wgpu::TextureFormat::Rgba32Float, size, &[0; 16]);
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let mut encoder = host.encoder();
        outputs[name].paint(&mut encoder, &PaintTarget::new(&view), &values).expect("it is recorded");
        host.submit(Some(encoder));
        let got = floats(&texels(&host, &texture));
        let want = between(&grid_values, grid, 1, size);
        let map = outputs[name].map().expect("a map");
        let painted = values.on_host(map, &expected[name].values(), 2).expect("a map");
        let centre = |texel: u32, size: u32| (texel as f32 + 0.5) / size as f32;
        let on_host = (0..size[0] * size[1]).map(|i| f64::from(painted.at([centre(i % size[0], size[0]), centre(i / size[0], size[1])])[0]));
        let difference = off_by(on_host, want.iter().copied());
        assert!(difference <= 1e-4, "{name}: the host's is off by {difference:e}");
        let difference = off_by(got.chunks(4).flat_map(|texel| texel[..3].to_vec()), want.iter().flat_map(|value| [*value; 3]));
        assert!(difference <= 1e-4, "{name}: {painting:?} is off by {difference:e}");
        assert!(got.chunks(4).all(|texel| texel[3] == 1.0), "{name}: what is painted is opaque");
        // In colours: the levels of the scale, whether the texture takes them or light.
        let stops = Scale::Inferno.stops().expect("colours");
        for format in [wgpu::TextureFormat::Rgba8Unorm, wgpu::TextureFormat::Rgba8UnormSrgb] {
            let texture = canvas(&host, format, size, &[0; 4]);
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            let mut encoder = host.encoder();
            outputs[name].paint(&mut encoder, &PaintTarget::new(&view), &painting).expect("it is recorded");
            host.submit(Some(encoder));
            let got: Vec<f64> = texels(&host, &texture).into_iter().map(f64::from).collect();
            let level = |value: f64, channel: usize| {
                let place = value * 255.0;
                let [low, high] = [place.floor(), place.ceil()].map(|stop| f64::from(stops[stop as usize][channel]));
                255.0 * (low + (high - low) * place.fract())
            };
            let want = want.iter().flat_map(|value| [0, 1, 2].map(|channel| level(*value, channel)));
            let difference = off_by(got.chunks(4).flat_map(|texel| texel[..3].to_vec()), want);
            assert!(difference <= 1.0, "{name} in {format:?}: off by {difference} levels");
        }
    }
    // One texel for each patch, of the second image.
    let texture = canvas(&host, wgpu::TextureFormat::Rgba32Float, [16, grid[0] as u32], &[0; 16]);
    let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
    let mut encoder = host.encoder();
    let target = PaintTarget::new(&view).rectangle([0.0, 0.0, grid[1] as f32, grid[0] as f32]);
    // Another kind of texture would encode them.
    outputs["pca"].paint(&mut encoder, &target, &Painting::default().image(1)).expect("it is recorded");
    host.submit(Some(encoder));
    let got = floats(&texels(&host, &texture));
    let light = |encoded: f32| if encoded <= 0.04045 { f64::from(encoded) / 12.92 } else { ((f64::from(encoded) + 0.055) / 1.055).powf(2.4) };
    let want = expected["pca"].values()[grid[0] * grid[1] * 3..].iter().map(|encoded| light(*encoded)).collect::<Vec<_>>();
    let rows = got.chunks(4 * 16).flat_map(|row| row[..4 * grid[1]].chunks(4).flat_map(|texel| texel[..3].to_vec()));
    let difference = off_by(rows, want.into_iter());
    assert!(difference <= 1e-5, "pca is off by {difference:e}");
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

/// A rectangle is covered as far as the opacity says, and nothing around it.
#[test]
fn painting_blends_over_existing_texels_by_opacity() {
    let Some(host) = Host::new(required_features) else { return };
    let mut session = host.session();
    let mut encoder = host.encoder();
    let outputs = session.encode(&mut encoder, GpuInput::Tensor(&image(9)), &["attn.3.0", "logits"]).expect("it is recorded");
    let texture = canvas(&host, wgpu::TextureFormat::Rgba8Unorm, [64, 64], &[200, 100, 50, 255]);
    let whole = canvas(&host, wgpu::TextureFormat::Rgba8Unorm, [64, 64], &[0; 4]);
    let [view, alone] = [&texture, &whole].map(|texture| texture.create_view(&wgpu::TextureViewDescriptor::default()));
    let rectangle = Some([-8.0, 16.0, 32.0, 24.0]);
    let half = Painting::default().opacity(0.5);
    outputs["attn.3.0"].paint(&mut encoder, &PaintTarget::new(&view).rectangle(rectangle), &half).expect("it is recorded");
    outputs["attn.3.0"].paint(&mut encoder, &PaintTarget::new(&alone).rectangle(rectangle), &Painting::default()).expect("it is recorded");
    host.submit(Some(encoder));
    let (got, opaque) = (texels(&host, &texture), texels(&host, &whole));
    for (i, (texel, paint)) in got.chunks(4).zip(opaque.chunks(4)).enumerate() {
        let is_inside = i % 64 < 24 && (16..40).contains(&(i / 64));
        assert_eq!(paint[3] == 255, is_inside, "texel {i}");
        let expected = [200, 100, 50].iter().zip(paint).map(|(below, above)| if is_inside { (below + i32::from(*above)) / 2 } else { *below });
        assert!(texel.iter().zip(expected).all(|(got, want)| (i32::from(*got) - want).abs() <= 1), "texel {i}: {texel:?} over {paint:?}");
    }
    // What cannot be painted, and what cannot be painted on.
    let refused = |name: &str, target: PaintTarget<'_>, painting: Painting, words: &str| {
        let error = outputs[name].paint(&mut host.encoder(), &target, &painting).expect_err("it is refused").to_string();
        assert!(error.contains(words), "{error}");
    };
    refused("logits", PaintTarget::new(&view), Painting::default(), "expected an output that is a map");
    refused("attn.3.0", PaintTarget::new(&view), Painting::default().image(1), "an image below 1, found 1");
    refused("attn.3.0", PaintTarget::new(&view).rectangle([0.0, 0.0, 0.0, 5.0]), Painting::default(), "a rectangle with sizes above 0");
    let (drawn, rgba) = (wgpu::TextureUsages::RENDER_ATTACHMENT, wgpu::TextureFormat::Rgba8Unorm);
    let view_of = |usage, format| host.device.create_texture(&described(usage, format)).create_view(&wgpu::TextureViewDescriptor::default());
    let unusable = view_of(wgpu::TextureUsages::TEXTURE_BINDING, rgba);
    refused("attn.3.0", PaintTarget::new(&unusable), Painting::default(), "with usage RENDER_ATTACHMENT");
    let numbers = view_of(drawn, wgpu::TextureFormat::Rgba8Uint);
    refused("attn.3.0", PaintTarget::new(&numbers), Painting::default(), "Rgba8Uint");
    // What only the device can see: a view of another format, of several levels, a viewport beyond its limits.
    let levels = wgpu::TextureDescriptor { mip_level_count: 2, view_formats: &[wgpu::TextureFormat::Rgba8UnormSrgb], ..described(drawn, rgba) };
    let levels = host.device.create_texture(&levels);
    let all = levels.create_view(&wgpu::TextureViewDescriptor::default());
    refused("attn.3.0", PaintTarget::new(&all), Painting::default(), "a painting");
    let of_format = |format| wgpu::TextureViewDescriptor { format, mip_level_count: Some(1), ..Default::default() };
    let encoded = levels.create_view(&of_format(Some(wgpu::TextureFormat::Rgba8UnormSrgb)));
    refused("attn.3.0", PaintTarget::new(&encoded), Painting::default(), "a painting");
    let largest = host.device.limits().max_texture_dimension_2d as f32;
    refused("attn.3.0", PaintTarget::new(&view).rectangle([largest, 0.0, largest, 1.0]), Painting::default(), "a painting");
    // The host's encoder is as good as before, and told the format, the view can be drawn into.
    let mut encoder = host.encoder();
    let target = PaintTarget::new(&view).rectangle([largest, 0.0, largest, 1.0]);
    assert!(outputs["attn.3.0"].paint(&mut encoder, &target, &Painting::default()).is_err());
    let target = PaintTarget::new(&encoded).format(wgpu::TextureFormat::Rgba8UnormSrgb);
    outputs["attn.3.0"].paint(&mut encoder, &target, &Painting::default()).expect("it is recorded");
    host.submit(Some(encoder));
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}

fn described(usage: wgpu::TextureUsages, format: wgpu::TextureFormat) -> wgpu::TextureDescriptor<'static> {
    let size = wgpu::Extent3d { width: 8, height: 8, depth_or_array_layers: 1 };
    let dimension = wgpu::TextureDimension::D2;
    wgpu::TextureDescriptor { label: None, size, mip_level_count: 1, sample_count: 1, dimension, format, usage, view_formats: &[] }
}

/// Depth as it is in a float texture, a texel for each value; and in colours, stretched to its range.
#[test]
fn depth_is_painted_as_it_is_and_in_colours() {
    let Some(host) = Host::new(required_features) else { return };
    let folder = path("tests/fixtures/cases/hf_depth_anything_metric");
    let lent = Device::from(host.gpu.clone());
    let mut session = Model::builder(Checkpoint::open(&folder).expect("a model")).device(lent).load_blocking().expect("it fits").session();
    let input = open_tensor(folder.join("expected.safetensors"), "pixel_values").expect("pixel values");
    let mut encoder = host.encoder();
    let outputs = session.encode(&mut encoder, GpuInput::Tensor(&input), &["predicted_depth"]).expect("it is recorded");
    let depth = &outputs["predicted_depth"];
    let &[_, height, width] = depth.shape() else { panic!("a map") };
    assert_eq!(depth.map(), Some(&Map::of_values([height, width])));
    let reading = depth.encode_read(&mut encoder);
    // Rows of 64 texels, of which the map fills those on the left.
    let rectangle = [0.0, 0.0, width as f32, height as f32];
    let raw = canvas(&host, wgpu::TextureFormat::R32Float, [64, height as u32], &[0; 4]);
    let colours = canvas(&host, wgpu::TextureFormat::Rgba8Unorm, [64, height as u32], &[0; 4]);
    for (texture, scale) in [(&raw, Scale::Values), (&colours, Scale::Inferno)] {
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let target = PaintTarget::new(&view).rectangle(rectangle);
        depth.paint(&mut encoder, &target, &Painting::default().scale(scale)).expect("it is recorded");
    }
    host.submit(Some(encoder));
    let [raw, colours] = [floats(&texels(&host, &raw)), texels(&host, &colours).into_iter().map(f64::from).collect()];
    host.wait();
    let values = pollster::block_on(reading.values()).expect("depth");
    let painted = Painting::default().on_host(depth.map().expect("a map"), &values.values(), 1).expect("a map");
    for (i, value) in values.values().iter().enumerate() {
        let (row, column) = (i / width, i % width);
        assert!((raw[row * 64 + column] - f64::from(*value)).abs() <= 1e-4, "row {row}, column {column}");
        let at = painted.at([(column as f32 + 0.5) / width as f32, (row as f32 + 0.5) / height as f32]);
        let got = &colours[4 * (row * 64 + column)..][..3];
        assert!(got.iter().zip(at).all(|(got, level)| (got - f64::from(level) * 255.0).abs() <= 1.0), "row {row}, column {column}");
    }
    assert_eq!(host.errors.load(Ordering::Relaxed), 0);
}
