//! Description of the API for OpenAPI.

use utoipa::OpenApi;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Required, SecurityRequirement};

#[derive(OpenApi)]
#[openapi(
    info(title = "vitraux", description = "Vision Transformers over HTTP: images in, classes or feature vectors out; also the Open Inference Protocol."),
    tags((name = "images", description = "Images as files"), (name = "protocol", description = "Open Inference Protocol, version 2"), (name = "server"))
)]
struct Api;

/// Parameters of paths, with their meanings.
const PARAMETERS: [(&str, &str); 2] = [("model", "Name of the model"), ("version", "Version of the model: 1")];

fn parameter((name, description): &(&str, &str)) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    ParameterBuilder::new()
        .name(*name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(*description))
        .schema(Some(text))
        .build()
}

/// Joins the descriptions of routes. Returns JSON.
pub fn describe(routes: impl IntoIterator<Item = utoipa::openapi::OpenApi>, has_token: bool) -> String {
    let mut description = Api::openapi();
    routes.into_iter().for_each(|routes| description.merge(routes));
    for (path, item) in &mut description.paths.paths {
        let parameters = PARAMETERS.iter().filter(|(name, _)| path.contains(&format!("{{{name}}}")));
        item.parameters = Some(parameters.map(|entry| parameter(entry).into()).collect());
        // Each operation has a name of its own.
        for operation in [&mut item.get, &mut item.post].into_iter().flatten().filter(|_| path.contains("{version}")) {
            operation.operation_id = operation.operation_id.take().map(|name| format!("{name}_of_version"));
        }
    }
    if has_token {
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        description.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
    description.to_json().expect("a description is JSON")
}
