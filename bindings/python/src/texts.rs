//! Texts: as strings, as token ids, and as descriptions of classes.

use crate::arrays::array;
use crate::error::{invalid, raised};
use crate::images::integers;
use crate::model::Model;
use crate::parts::Parts;
use crate::threads::detached;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::ops::Range;
use vitraux::{Labels, Outputs, Session, Tensor, Tokens};

/// Texts between looks for Ctrl-C.
const CHUNK: usize = 64;

/// Output with the vectors of texts.
const VECTORS: &str = "text_embeds_l2";

/// Text for a class, with its name in place of the braces.
const TEMPLATE: &str = "a photo of a {}";

/// Reads one string, or a list of them.
///
/// # Errors
/// `vitraux.Error` for anything else.
pub fn strings(texts: &Bound<'_, PyAny>, argument: &'static str) -> PyResult<Vec<String>> {
    let py = texts.py();
    let refusal = |found| invalid(py, argument, format!("expected a string or a list of strings, found {found}"));
    let string = |text: &Bound<'_, PyAny>| text.extract::<String>().map_err(|error| invalid(py, argument, error.to_string()));
    if texts.is_instance_of::<PyString>() {
        return Ok(vec![string(texts)?]);
    }
    let kind = texts.get_type().name()?;
    let Ok(list) = texts.try_iter() else { return Err(refusal(kind.to_string())) };
    let element = |text: PyResult<Bound<'_, PyAny>>| match text? {
        text if text.is_instance_of::<PyString>() => string(&text),
        other => Err(refusal(format!("{} in {kind}", other.get_type().name()?))),
    };
    list.map(element).collect()
}

impl Model {
    /// Encodes texts: `[B, P]`.
    pub fn text_vectors(&self, py: Python<'_>, texts: &[String]) -> PyResult<Tensor> {
        if texts.is_empty() {
            return Err(invalid(py, "texts", "expected at least one text, found none".to_owned()));
        }
        let encode = |session: &mut Session, rows| Ok([(VECTORS.to_owned(), session.encode_text_blocking(&texts[rows])?)].into());
        Ok(self.in_parts(py, texts.len(), encode)?.remove(VECTORS).expect("the encoded texts"))
    }

    /// Encodes the names of classes.
    pub fn described(&self, py: Python<'_>, names: &Bound<'_, PyAny>, template: Option<&Bound<'_, PyAny>>) -> PyResult<Labels> {
        self.check_process(py)?;
        let names = strings(names, "labels")?;
        let templates = template.map_or_else(|| Ok(vec![TEMPLATE.to_owned()]), |template| strings(template, "template"))?;
        detached(py, || self.with_session(|session| session.encode_labels_blocking(&names, &templates))).map_err(|error| raised(py, &error))
    }

    /// Runs the text tower on token ids.
    pub fn run_tokens<'py>(
        &self,
        py: Python<'py>,
        ids: &Bound<'py, PyAny>,
        mask: Option<&Bound<'py, PyAny>>,
        outputs: &[String],
    ) -> PyResult<Bound<'py, PyDict>> {
        let (shape, ids) = integers(ids, "input_ids")?;
        let &[batch, count] = shape.as_slice() else { return Err(invalid(py, "input_ids", format!("expected [B, N], found {shape:?}"))) };
        let ids = ids.into_iter().map(|id| u32::try_from(id).map_err(|_| invalid(py, "input_ids", format!("expected token ids, found {id}"))));
        let ids = ids.collect::<PyResult<Vec<u32>>>()?;
        let mask = match mask.map(|mask| integers(mask, "attention_mask")).transpose()? {
            None => None,
            Some((found, _)) if found != shape => return Err(invalid(py, "attention_mask", format!("expected {shape:?}, found {found:?}"))),
            Some((_, mask)) => Some(mask.into_iter().map(|attended| attended != 0).collect::<Vec<bool>>()),
        };
        let tokens = Tokens::new([batch, count], ids, mask).map_err(|error| raised(py, &error))?;
        let names: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let mut found = self.in_parts(py, batch, |session, rows| {
            let all = rows.start * count..rows.end * count;
            let part = Tokens::new([rows.len(), count], tokens.ids[all.clone()].to_vec(), Some(tokens.mask[all].to_vec()))?;
            session.forward_text_blocking(&part, &names)
        })?;
        let named = PyDict::new(py);
        for name in outputs {
            if let Some(tensor) = found.remove(name) {
                named.set_item(name, array(py, tensor)?)?;
            }
        }
        Ok(named)
    }

    /// Calls `work` with ranges of `batch` texts, and joins the outputs.
    fn in_parts(
        &self,
        py: Python<'_>,
        batch: usize,
        work: impl Fn(&mut Session, Range<usize>) -> vitraux::Result<Outputs> + Sync,
    ) -> PyResult<Outputs> {
        self.check_process(py)?;
        let mut parts = Parts::default();
        for first in (0..batch).step_by(CHUNK) {
            py.check_signals()?;
            let rows = first..batch.min(first + CHUNK);
            parts.add(detached(py, || self.with_session(|session| work(session, rows))).map_err(|error| raised(py, &error))?);
        }
        parts.joined().map_err(|error| raised(py, &error))
    }
}
