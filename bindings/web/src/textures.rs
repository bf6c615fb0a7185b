//! Images that the browser has decoded, in textures.

use vitraux::wgpu;
use wasm_bindgen::prelude::*;
use web_sys::{ImageBitmap, VideoFrame};

/// An image in a texture.
#[wasm_bindgen]
pub struct Texture(pub(crate) wgpu::Texture);

impl Drop for Texture {
    fn drop(&mut self) {
        self.0.destroy();
    }
}

/// Copies an `ImageBitmap` or a `VideoFrame` on the device. If the browser cannot do that, the worker is told.
pub fn copied(device: &wgpu::Device, queue: &wgpu::Queue, image: JsValue) -> Texture {
    let source = match image.dyn_into::<VideoFrame>() {
        Ok(frame) => wgpu::ExternalImageSource::VideoFrame(frame),
        Err(bitmap) => wgpu::ExternalImageSource::ImageBitmap(bitmap.unchecked_into::<ImageBitmap>()),
    };
    let size = wgpu::Extent3d { width: source.width(), height: source.height(), depth_or_array_layers: 1 };
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("image"),
        size,
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        // Levels as in the file.
        format: wgpu::TextureFormat::Rgba8Unorm,
        // The browser draws the copy.
        usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::RENDER_ATTACHMENT,
        view_formats: &[],
    });
    let source = wgpu::CopyExternalImageSourceInfo { source, origin: wgpu::Origin2d::ZERO, flip_y: false };
    let target = wgpu::CopyExternalImageDestInfo {
        texture: &texture,
        mip_level: 0,
        origin: wgpu::Origin3d::ZERO,
        aspect: wgpu::TextureAspect::All,
        color_space: wgpu::PredefinedColorSpace::Srgb,
        premultiplied_alpha: false,
    };
    queue.copy_external_image_to_texture(&source, target, size);
    Texture(texture)
}
