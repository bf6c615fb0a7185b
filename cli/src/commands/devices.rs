use super::{Format, Result};
use clap::Args;
use serde_json::json;
use std::io::Write;
use vitraux::adapters_blocking;

#[derive(Debug, Args)]
pub struct Devices {
    /// Output format; json prints one list
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Devices {
    pub fn run(self) -> Result<()> {
        let adapters: Vec<_> = adapters_blocking().into_iter().map(|(summary, _)| summary).collect();
        let mut out = std::io::stdout().lock();
        match self.format {
            Format::Text => {
                for adapter in &adapters {
                    let mebibytes = adapter.capabilities.binding_bytes >> 20;
                    writeln!(out, "{}: {adapter}, {mebibytes} MiB per binding", adapter.index)?;
                }
                writeln!(out, "cpu: {} threads", threads())?;
            }
            Format::Json => {
                let mut list: Vec<_> = adapters
                    .iter()
                    .map(|adapter| {
                        json!({
                            "index": adapter.index,
                            "name": adapter.name,
                            "backend": adapter.backend,
                            "kind": adapter.kind.to_string(),
                            "driver": adapter.driver,
                            "binding_bytes": adapter.capabilities.binding_bytes,
                            "buffer_bytes": adapter.capabilities.buffer_bytes,
                            "workgroups": adapter.capabilities.workgroups,
                            "workgroup_bytes": adapter.capabilities.workgroup_bytes,
                        })
                    })
                    .collect();
                list.push(json!({ "name": "cpu", "kind": "cpu", "threads": threads() }));
                writeln!(out, "{}", serde_json::Value::from(list))?;
            }
        }
        Ok(())
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
