//! Recordings made of others: with other kernels, and with all that is computed on the way as outputs.

use super::{Access, Command, Dispatch, Kernel, Recording, View};

impl Dispatch {
    /// What it writes.
    pub fn written(&self) -> &View {
        let written = self.kernel.bindings.iter().zip(&self.views).find(|(binding, _)| binding.access == Access::Write);
        written.expect("a kernel writes a buffer").1
    }
}

impl Recording {
    /// The same with each kernel replaced by what `exchange` gives for it, which must have the same bindings and parameters: for tests, and for
    /// those who edit shaders.
    pub fn exchanging(mut self, exchange: impl Fn(&'static Kernel) -> &'static Kernel) -> Recording {
        for command in &mut self.commands {
            if let Command::Dispatch(dispatch) = command {
                dispatch.kernel = exchange(dispatch.kernel);
            }
        }
        self
    }

    /// The calls of kernels, in order.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.commands.iter().filter_map(|command| match command {
            Command::Dispatch(dispatch) => Some(dispatch),
            Command::Save { .. } => None,
        })
    }
}

#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
impl Recording {
    /// The first so many calls of kernels, without outputs.
    pub(crate) fn beginning(&self, dispatches: usize) -> Recording {
        let commands = self.dispatches().take(dispatches).cloned().map(Command::Dispatch).collect();
        Recording { commands, outputs: Vec::new(), ..self.clone() }
    }

    /// The same with other outputs: behind each dispatch the whole of the buffer that it writes, by the dispatch's label.
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
