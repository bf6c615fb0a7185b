//! Conversions of activations to bf16 or int8 that the twin of the dispatch before them can do.

use crate::data::record::{Buf, Command, Dispatch, Recording};

/// A conversion of all rows that a dispatch writes, right after it.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// The packed copy.
    pub to: Buf,
    /// Whether nothing else reads the rows.
    pub replaces_rows: bool,
}

/// Returns the conversion that follows each command, if any.
pub fn conversions(recording: &Recording) -> Vec<Option<Conversion>> {
    let initial = initial_writes(recording);
    (0..recording.commands().len()).map(|i| conversion_after(recording, i, &initial)).collect()
}

fn conversion_after(recording: &Recording, i: usize, initial: &[&Dispatch]) -> Option<Conversion> {
    let (Command::Dispatch(dispatch), Command::Dispatch(next)) = (&recording.commands()[i], recording.commands().get(i + 1)?) else { return None };
    let (from, to) = (recording.all(dispatch.written().buf), next.written().buf);
    let is_conversion = recording.precision_of(to).is_packed() && *dispatch.written() == from && next.views[0] == from;
    // What the command reads must not be overwritten while it runs.
    let is_apart = dispatch.views.iter().all(|view| view.buf != to);
    (is_conversion && is_apart).then(|| {
        let next_use = recording.commands()[i + 2..].iter().find(|command| uses(command, from.buf));
        let is_overwritten = |command: &Command| match command {
            Command::Dispatch(dispatch) => *dispatch.written() == from && initial.iter().any(|other| is_same_work(dispatch, other)),
            Command::Save { .. } => false,
        };
        Conversion { to, replaces_rows: next_use.is_none_or(is_overwritten) }
    })
}

/// Returns the dispatches that write a whole buffer before any other command uses it. They do not read what they write, because a pass never depends on what
/// an earlier one left behind.
fn initial_writes(recording: &Recording) -> Vec<&Dispatch> {
    let is_initial = |(i, dispatch): (usize, &Dispatch)| {
        let written = dispatch.written();
        *written == recording.all(written.buf) && !recording.commands()[..i].iter().any(|command| uses(command, written.buf))
    };
    let dispatches = recording.commands().iter().enumerate().filter_map(|(i, command)| match command {
        Command::Dispatch(dispatch) => Some((i, dispatch)),
        Command::Save { .. } => None,
    });
    dispatches.filter(|dispatch| is_initial(*dispatch)).map(|(_, dispatch)| dispatch).collect()
}

/// Returns whether two dispatches do the same, to whichever buffers.
fn is_same_work(a: &Dispatch, b: &Dispatch) -> bool {
    (a.kernel.name, &a.spec, &a.params) == (b.kernel.name, &b.spec, &b.params)
}

fn uses(command: &Command, buf: Buf) -> bool {
    match command {
        Command::Dispatch(dispatch) => dispatch.views.iter().any(|view| view.buf == buf),
        Command::Save { from, .. } => *from == buf,
    }
}
