//! A whole model, tensor by tensor, on a device and on the CPU.

use super::Exchange;
use super::judge::{Step, apart, steps};
use crate::data::capabilities::Precision;
use crate::data::config::Size;
use crate::data::error::Result;
use crate::data::record::{Command, Recording};
use crate::data::tensor::Tensor;
use crate::execution::cpu;
use crate::execution::device::Device;
use crate::model::forward::output_names;
use crate::model::{ModelBuilder, Traced};
use crate::operations::cases::Rng;

/// How a device does on a model.
#[derive(Clone, Debug)]
pub struct ModelReport {
    /// The model's name.
    pub model: String,
    /// Every tensor that is computed, in order.
    pub tensors: Vec<TensorReport>,
}

/// One tensor of a model.
#[derive(Clone, Debug)]
pub struct TensorReport {
    /// The call that computes it, beside its twin: both read the same, so that errors do not add up.
    pub step: Step,
    /// The names of the model's outputs that it is.
    pub outputs: Vec<String>,
    /// The largest difference from what the CPU has there in a pass of its own, where the errors of all calls so far have added up; nothing for
    /// integers.
    pub apart: Option<f64>,
}

impl ModelReport {
    /// The first tensor that diverges.
    pub fn first_divergence(&self) -> Option<&TensorReport> {
        self.tensors.iter().find(|tensor| !tensor.step.is_right())
    }
}

/// Runs a model on made-up input, on the builder's device and on the CPU.
///
/// # Errors
/// As [`ModelBuilder::load`] and [`Session::forward`](crate::Session::forward); [`Error::Argument`](crate::Error::Argument) if the device is the CPU, which others are held
/// against.
pub fn check_model(builder: ModelBuilder, size: Size, exchange: Exchange<'_>) -> Result<ModelReport> {
    let config = builder.checkpoint().config.clone();
    let shape = config.input_shape(1, size)?;
    let input = Tensor::new(shape.clone(), Rng::new("doctor").units(shape.iter().product()))?;
    // The probabilities are computed beside, by kernels that are checked by their cases, and take B × H × N × N each.
    let names: Vec<String> = output_names(&config).into_iter().filter(|name| !name.starts_with("attn.")).collect();
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let model = builder.clone().load_blocking()?;
    let twin = builder.untuned_on(Device::cpu()).layout_of(model.device().capabilities()).load_blocking()?;
    let Traced { recording, got, weights } = model.session().trace_beside(&twin, &input, &wanted, exchange)?;
    let values = input.values();
    let on_the_cpu = cpu::Plan::new(recording.traced(), weights.clone()).run(&[&values]);
    let steps = steps(&recording, cpu::Plan::new(recording.clone(), weights), &[&values], &got);
    let outputs = outputs(&recording);
    let tensors = steps.into_iter().zip(recording.dispatches()).enumerate().map(|(i, (step, dispatch))| {
        let view = dispatch.written();
        let [got, own] = [&got[i], &on_the_cpu[i]].map(|whole| &whole[view.offset..view.offset + view.len]);
        let is_of_numbers = recording.precision_of(view.buf) != Precision::Int8;
        TensorReport { step, outputs: outputs[i].clone(), apart: is_of_numbers.then(|| apart(got, own)) }
    });
    Ok(ModelReport { model: config.name, tensors: tensors.collect() })
}

/// For each dispatch the outputs that are what it wrote.
fn outputs(recording: &Recording) -> Vec<Vec<String>> {
    let mut outputs = vec![Vec::new(); recording.dispatches().count()];
    let mut last_writer = vec![None; recording.buffers().len()];
    let mut next = 0;
    for command in recording.commands() {
        match command {
            Command::Dispatch(dispatch) => {
                last_writer[dispatch.written().buf.index()] = Some(next);
                next += 1;
            }
            Command::Save { from, output } => {
                if let Some(writer) = last_writer[from.index()] {
                    outputs[writer].push(recording.outputs()[*output].name.clone());
                }
            }
        }
    }
    outputs
}
