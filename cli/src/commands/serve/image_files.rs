//! Image files in bodies.

use super::failure::Failure;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header;
use axum::http::request::Parts;

/// Returns the image files of a body, with their names: the body itself, or all files of a form, of which there may be `most`.
pub async fn image_files(parts: Parts, bytes: Bytes, most: usize) -> Result<Vec<(String, Bytes)>, Failure> {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    if !content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase().starts_with("multipart/") {
        return match bytes.is_empty() {
            true => Err(Failure::invalid("expected an image file as the body, found none")),
            false => Ok(vec![("image".to_owned(), bytes)]),
        };
    }
    // The parts say that the body has no other limit.
    let request = Request::from_parts(parts, Body::from(bytes));
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| Failure::invalid(error.body_text()))?;
    let mut files = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| Failure::invalid(error.body_text()))? {
        let name = match (field.file_name(), field.content_type()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(kind)) if kind.starts_with("image/") => format!("image {}", files.len() + 1),
            (None, _) => {
                let name = field.name().unwrap_or_default();
                return Err(Failure::invalid(format!("{name}: expected a file, found text; options are in the query, as in ?top=3")));
            }
        };
        Failure::check_name(&name)?;
        if files.len() == most {
            return Err(Failure::too_many_images(most));
        }
        files.push((name, field.bytes().await.map_err(|error| Failure::invalid(error.body_text()))?));
    }
    Ok(files)
}
