//! Requests for inference: JSON, and the bytes of tensors behind it.

use crate::commands::serve::failure::Failure;
use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt::{Formatter, Result as Written};
use std::marker::PhantomData;
use utoipa::ToSchema;

/// Header with the length of the JSON, which is there if tensors follow as bytes.
pub const JSON_LENGTH: &str = "inference-header-content-length";

/// Maximum number of inputs and outputs. JSON of a few bytes each becomes many times as large.
const MOST_TENSORS: usize = 1024;

/// Maximum number of dimensions.
const MOST_DIMENSIONS: usize = 16;

/// Request for inference.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InferRequest {
    /// Comes back in the answer.
    pub id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Option<Parameters>)]
    pub parameters: Parameters,
    #[serde(deserialize_with = "at_most::<MOST_TENSORS, _, _>")]
    pub inputs: Vec<Input>,
    /// Outputs by name: any that `vitraux forward --tap` takes. Without any, those of the model's metadata.
    #[serde(default, deserialize_with = "at_most::<MOST_TENSORS, _, _>")]
    pub outputs: Vec<Output>,
}

/// Reads a value that may be null, as clients write what is not set.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads an array of at most `N` elements, or null.
fn at_most<'de, const N: usize, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct AtMost<const N: usize, T>(PhantomData<T>);

    impl<'de, const N: usize, T: Deserialize<'de>> Visitor<'de> for AtMost<N, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut Formatter<'_>) -> Written {
            write!(f, "an array of at most {N} elements")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut read = Vec::new();
            while let Some(element) = elements.next_element()? {
                if read.len() == N {
                    return Err(A::Error::invalid_length(N + 1, &self));
                }
                read.push(element);
            }
            Ok(read)
        }
    }

    deserializer.deserialize_any(AtMost::<N, T>(PhantomData))
}

/// Parameters of a request, an input or an output. Others are ignored.
#[derive(Debug, Default, PartialEq, ToSchema)]
pub struct Parameters {
    /// Bytes of an input behind the JSON.
    pub binary_data_size: Option<usize>,
    /// Whether an output follows the JSON as bytes.
    pub binary_data: Option<bool>,
    /// Whether all outputs do.
    pub binary_data_output: Option<bool>,
    /// Number of best classes to return of an output, instead of its values.
    pub classification: Option<usize>,
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Parameters, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Parameters;

            fn expecting(&self, f: &mut Formatter<'_>) -> Written {
                write!(f, "an object of parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Parameters, A::Error> {
                fn value<'de, T: Deserialize<'de>, A: MapAccess<'de>>(fields: &mut A, name: &str, expected: &str) -> Result<Option<T>, A::Error> {
                    fields.next_value().map_err(|_| A::Error::custom(format!("{name}: expected {expected}")))
                }

                let (number, flag) = ("a number", "true or false");
                let mut read = Parameters::default();
                while let Some(name) = fields.next_key::<String>()? {
                    match name.as_str() {
                        "binary_data_size" => read.binary_data_size = value(&mut fields, &name, number)?,
                        "binary_data" => read.binary_data = value(&mut fields, &name, flag)?,
                        "binary_data_output" => read.binary_data_output = value(&mut fields, &name, flag)?,
                        "classification" => read.classification = value(&mut fields, &name, number)?,
                        _ => drop(fields.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(read)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Input tensor: `pixel_values` FP32 [B, channels, height, width], or `image` BYTES [B] with image files, or UINT8 [B, height, width, 3].
#[derive(Debug, Deserialize, ToSchema)]
pub struct Input {
    pub name: String,
    #[serde(deserialize_with = "at_most::<MOST_DIMENSIONS, _, _>")]
    pub shape: Vec<usize>,
    pub datatype: String,
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Option<Parameters>)]
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
    #[schema(value_type = Option<Parameters>)]
    pub parameters: Parameters,
}

/// Elements of a tensor in JSON.
#[derive(Debug)]
pub enum Data {
    Numbers(Vec<f32>),
    Strings(Strings),
}

/// Strings, of which a short one takes little more memory than its JSON.
#[derive(Debug, Default)]
pub struct Strings {
    text: String,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Strings {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start as usize..*end as usize])
    }

    /// Appends a string. Returns false if all of them are longer than any request.
    fn push(&mut self, string: &str) -> bool {
        self.text.push_str(string);
        u32::try_from(self.text.len()).map(|end| self.ends.push(end)).is_ok()
    }
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
            elements.push(match (input.parameters.binary_data_size, input.data.take()) {
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

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Data, D::Error> {
        let mut flat = Flat::default();
        Nested(&mut flat).deserialize(deserializer)?;
        match (flat.numbers.is_empty(), flat.strings.len() == 0) {
            (_, true) => Ok(Data::Numbers(flat.numbers)),
            (true, false) => Ok(Data::Strings(flat.strings)),
            (false, false) => Err(D::Error::custom("expected either numbers or strings, found both")),
        }
    }
}

/// Elements of nested arrays.
#[derive(Default)]
struct Flat {
    numbers: Vec<f32>,
    strings: Strings,
}

/// An element, or an array of elements, which become those of `Flat`.
struct Nested<'a>(&'a mut Flat);

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = ();

    fn expecting(&self, f: &mut Formatter<'_>) -> Written {
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

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if self.0.strings.push(value) { Ok(()) } else { Err(E::custom("expected at most 4 GiB of strings, found more")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
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
        assert!(
            [&request.parameters, &request.inputs[0].parameters].iter().all(|found| **found == Parameters::default()) && request.outputs.is_empty()
        );
    }

    #[test]
    fn parameters_of_wrong_types_are_named() {
        let with = |parameters: &str| {
            let json = format!(r#"{{"inputs": [], "parameters": {parameters}}}"#);
            parse(HeaderMap::new(), json.as_bytes()).map(|(request, _)| request.parameters).map_err(|failure| failure.message)
        };
        let read = with(r#"{"classification": 3, "priority": {"a": [1]}, "binary_data_output": null}"#).expect("parameters");
        assert_eq!(read, Parameters { classification: Some(3), ..Parameters::default() });
        for (parameters, words) in [
            (r#"{"classification": -1}"#, "classification: expected a number"),
            (r#"{"binary_data_output": 1}"#, "binary_data_output: expected true or false"),
            ("[null, null, null, null]", "expected an object of parameters"),
        ] {
            let message = with(parameters).expect_err("it is wrong");
            assert!(message.contains(words), "{message}");
        }
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
