//! Recordings derived from others: with other kernels, or with every intermediate result as an output.

use super::{Access, Command, Dispatch, Kernel, Recording, View};

impl Dispatch {
    /// Returns the view that it writes.
    pub fn written(&self) -> &View {
        let written = self.kernel.bindings.iter().zip(&self.views).find(|(binding, _)| binding.access == Access::Write);
        written.expect("a kernel writes a buffer").1
    }
}

impl Recording {
    /// Replaces each kernel with the result of `exchange`, which must have the same bindings and parameters. For tests and
    /// shader editing.
    pub fn exchanging(mut self, exchange: impl Fn(&'static Kernel) -> &'static Kernel) -> Recording {
        for command in &mut self.commands {
            if let Command::Dispatch(dispatch) = command {
                dispatch.kernel = exchange(dispatch.kernel);
            }
        }
        self
    }

    /// Returns the dispatches in order.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.commands.iter().filter_map(|command| match command {
            Command::Dispatch(dispatch) => Some(dispatch),
            Command::Save { .. } => None,
        })
    }
}

#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
impl Recording {
    /// Returns a recording of the first `dispatches` dispatches, without outputs.
    pub(crate) fn beginning(&self, dispatches: usize) -> Recording {
        let commands = self.dispatches().take(dispatches).cloned().map(Command::Dispatch).collect();
        Recording { commands, outputs: Vec::new(), ..self.clone() }
    }

    /// Returns a recording whose outputs are the whole buffer written by each dispatch, named by the dispatch's label.
    pub(crate) fn traced(&self) -> Recording {
        let mut traced = Recording { commands: Vec::new(), outputs: Vec::new(), ..self.clone() };
        for dispatch in self.dispatches() {
            let from = dispatch.written().buf;
            traced.commands.push(Command::Dispatch(dispatch.clone()));
            traced.save(dispatch.label.clone(), from);
        }
        traced
    }
}
