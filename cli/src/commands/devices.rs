use super::output::stdout;
use super::table::{Column, Table};
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
        let mut out = stdout();
        match self.format {
            Format::Text => {
                let words = ["name", "backend", "kind", "driver"].map(Column::Words);
                let mut table = Table::new(std::iter::once(Column::Words("device")).chain(words).chain([Column::Numbers("MiB per binding")]));
                for adapter in &adapters {
                    let mebibytes = adapter.capabilities.binding_bytes >> 20;
                    let words = [adapter.index.to_string(), adapter.name.clone(), adapter.backend.to_string(), adapter.kind.to_string()];
                    table.add(words.into_iter().chain([adapter.driver.clone(), mebibytes.to_string()]));
                }
                let threads = format!("{} threads", threads());
                table.add(["cpu".to_owned(), threads, String::new(), "cpu".to_owned(), String::new(), String::new()]);
                write!(out, "{}", table.text())?;
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
                            "pci_bus_id": adapter.pci_bus_id,
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
