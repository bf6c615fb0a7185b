//! Requests for inference: JSON, and the bytes of tensors behind it.

use crate::commands::serve::failure::Failure;
use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Header with the length of the JSON, which is there if tensors follow as bytes.
pub const JSON_LENGTH: &str = "inference-header-content-length";

/// Request for inference.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InferRequest {
    /// Comes back in the answer.
    pub id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Parameters,
    pub inputs: Vec<Input>,
    /// Outputs by name: any that `vitraux forward --tap` takes. Without any, those of the model's metadata.
    #[serde(default, deserialize_with = "or_default")]
    pub outputs: Vec<Output>,
}

/// Reads a value that may be null, as clients write what is not set.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Parameters by name.
pub type Parameters = BTreeMap<String, Value>;

/// Input tensor: `pixel_values` FP32 [B, channels, height, width], or `image` BYTES [B] with image files, or UINT8 [B, height, width, 3].
#[derive(Debug, Deserialize, ToSchema)]
pub struct Input {
    pub name: String,
    pub shape: Vec<usize>,
    pub datatype: String,
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Parameters,
    /// Elements in row-major order, also as nested arrays; files of images in base64.
    #[schema(value_type = Option<Vec<Object>>)]
    pub data: Option<Data>,
}

/// Wanted output.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Output {
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Option<Object>)]
    pub parameters: Parameters,
}

/// Elements of a tensor in JSON.
#[derive(Debug)]
pub enum Data {
    Numbers(Vec<f32>),
    Strings(Vec<String>),
}

/// Elements of an input.
pub enum Elements {
    Json(Data),
    Binary(Bytes),
}

impl InferRequest {
    /// Parses a body. Returns the request, and the elements of each input.
    pub fn parse(headers: &HeaderMap, body: &Bytes) -> Result<(InferRequest, Vec<Elements>), Failure> {
        let length = match headers.get(JSON_LENGTH) {
            None => body.len(),
            Some(length) => {
                let length = length.to_str().ok().and_then(|length| length.parse().ok()).filter(|length| *length <= body.len());
                length
                    .ok_or_else(|| Failure::invalid(format!("{JSON_LENGTH}: expected the length of the JSON, at most the body's {}", body.len())))?
            }
        };
        let mut request: InferRequest =
            serde_json::from_slice(&body[..length]).map_err(|error| Failure::invalid(format!("the request's JSON: {error}")))?;
        let names = request.inputs.iter().map(|input| &input.name).chain(request.outputs.iter().map(|output| &output.name)).chain(&request.id);
        names.map(String::as_str).try_for_each(Failure::check_name)?;
        let mut rest = body.slice(length..);
        let mut elements = Vec::with_capacity(request.inputs.len());
        for input in &mut request.inputs {
            elements.push(match (size(&input.parameters, "binary_data_size")?, input.data.take()) {
                (Some(size), None) if size <= rest.len() => Elements::Binary(rest.split_to(size)),
                (Some(size), None) => {
                    return Err(Failure::invalid(format!("{}: expected {size} bytes behind the JSON, found {}", input.name, rest.len())));
                }
                (None, Some(data)) => Elements::Json(data),
                _ => return Err(Failure::invalid(format!("{}: expected either data or the parameter binary_data_size", input.name))),
            });
        }
        match rest.len() {
            0 => Ok((request, elements)),
            more => Err(Failure::invalid(format!("expected the end of the body, found {more} more bytes"))),
        }
    }
}

/// Returns the number of a parameter.
pub fn size(parameters: &Parameters, name: &str) -> Result<Option<usize>, Failure> {
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    parameters.get(name).map(|value| number(value).ok_or_else(|| Failure::invalid(format!("{name}: expected a number, found {value}")))).transpose()
}

/// Returns whether a parameter is set.
pub fn flag(parameters: &Parameters, name: &str) -> Result<Option<bool>, Failure> {
    parameters
        .get(name)
        .map(|value| value.as_bool().ok_or_else(|| Failure::invalid(format!("{name}: expected true or false, found {value}"))))
        .transpose()
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Data, D::Error> {
        let mut flat = Flat::default();
        serde::de::DeserializeSeed::deserialize(Nested(&mut flat), deserializer)?;
        match (flat.numbers.is_empty(), flat.strings.is_empty()) {
            (_, true) => Ok(Data::Numbers(flat.numbers)),
            (true, false) => Ok(Data::Strings(flat.strings)),
            (false, false) => Err(serde::de::Error::custom("expected either numbers or strings, found both")),
        }
    }
}

/// Elements of nested arrays.
#[derive(Default)]
struct Flat {
    numbers: Vec<f32>,
    strings: Vec<String>,
}

/// An element, or an array of elements, which become those of `Flat`.
struct Nested<'a>(&'a mut Flat);

impl<'de> serde::de::DeserializeSeed<'de> for Nested<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Nested<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "numbers, strings or arrays of them")
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.numbers.push(value as f32);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.numbers.push(value as f32);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.numbers.push(value as f32);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.strings.push(value.to_owned());
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Nested(self.0))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(headers: HeaderMap, body: &[u8]) -> Result<(InferRequest, Vec<Elements>), Failure> {
        InferRequest::parse(&headers, &Bytes::copy_from_slice(body))
    }

    #[test]
    fn nested_arrays_are_flattened() {
        let json = br#"{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2.5], [-3, 4e1]]}]}"#;
        let (_, elements) = parse(HeaderMap::new(), json).expect("a request");
        assert!(matches!(&elements[0], Elements::Json(Data::Numbers(numbers)) if *numbers == [1.0, 2.5, -3.0, 40.0]));
    }

    #[test]
    fn null_is_what_is_not_set() {
        let json = br#"{"id": null, "parameters": null, "outputs": null, "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": null, "data": [1]}]}"#;
        let (request, _) = parse(HeaderMap::new(), json).expect("a request");
        assert!(request.parameters.is_empty() && request.outputs.is_empty() && request.inputs[0].parameters.is_empty());
    }

    #[test]
    fn bytes_belong_to_inputs_in_order() {
        let json = br#"{"inputs": [{"name": "a", "shape": [1], "datatype": "UINT8", "parameters": {"binary_data_size": 1}},
            {"name": "b", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}}]}"#;
        let headers = HeaderMap::from_iter([(JSON_LENGTH.parse().expect("a name"), json.len().to_string().parse().expect("a value"))]);
        let (_, elements) = parse(headers.clone(), &[json.as_slice(), &[7, 8, 9]].concat()).expect("a request");
        let bytes = elements.iter().map(|elements| if let Elements::Binary(bytes) = elements { bytes.to_vec() } else { Vec::new() });
        assert!(bytes.eq([vec![7], vec![8, 9]]));
        for wrong in [&[7, 8][..], &[7, 8, 9, 10], &[]] {
            let failure = parse(headers.clone(), &[json.as_slice(), wrong].concat()).err().expect("a failure");
            assert!(failure.message.contains("expected"), "{}", failure.message);
        }
    }

    #[test]
    fn damaged_requests_are_reported() {
        let with = |rest: &str| format!(r#"{{"inputs": [{{"name": "x", "shape": [1], "datatype": "FP32"{rest}}}]}}"#);
        let deep = with(&format!(r#", "data": {}1{}"#, "[".repeat(500), "]".repeat(500)));
        let bodies = [String::new(), "{".to_owned(), "[]".to_owned(), with(""), with(r#", "data": [1, "a"]"#), with(r#", "data": [true]"#), deep];
        for body in bodies {
            assert!(parse(HeaderMap::new(), body.as_bytes()).is_err(), "{body}");
        }
        let headers = HeaderMap::from_iter([(JSON_LENGTH.parse().expect("a name"), "9".parse().expect("a value"))]);
        assert!(parse(headers, b"{}").is_err());
    }
}
