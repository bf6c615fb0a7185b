//! A page that shows the images found.

use crate::commands::Result;
use crate::commands::output::replace_with;
use std::io::Write;
use std::path::{Path, PathBuf};

const STYLE: &str = "body{font:16px system-ui;margin:2rem;color-scheme:light dark}main{display:grid;gap:1rem;\
    grid-template-columns:repeat(auto-fill,minmax(14rem,1fr))}figure{margin:0}img{width:100%;height:12rem;object-fit:cover}\
    figcaption{font-size:.8rem;overflow-wrap:anywhere}";

/// Writes the page of a query and the images found, each with its similarity.
pub fn write(file: &Path, query: &str, found: &[(f64, PathBuf)]) -> Result<()> {
    replace_with(file, |out| {
        let query = escaped(query);
        writeln!(out, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">")?;
        writeln!(out, "<title>{query}</title>\n<style>{STYLE}</style>\n<h1>{query}</h1>\n<main>")?;
        for (similarity, image) in found {
            let (address, name) = (address(image), escaped(&image.to_string_lossy()));
            writeln!(
                out,
                "<figure><a href=\"{address}\"><img loading=\"lazy\" alt=\"\" src=\"{address}\"></a><figcaption>{similarity:.4} {name}</figcaption></figure>"
            )?;
        }
        writeln!(out, "</main>\n</html>")?;
        Ok(())
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns the address of a file. All bytes but those that need no escape are percent-encoded.
fn address(image: &Path) -> String {
    let path = image.canonicalize().unwrap_or_else(|_| image.to_owned());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let byte = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("file://{}", bytes_of(&path).into_iter().map(byte).collect::<String>())
}

/// Returns the bytes of a path, with `/` between its parts.
#[cfg(unix)]
fn bytes_of(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

#[cfg(not(unix))]
fn bytes_of(path: &Path) -> Vec<u8> {
    path.to_string_lossy().replace('\\', "/").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_page() {
        assert_eq!(escaped("<a b=\"c\">&"), "&lt;a b=&quot;c&quot;&gt;&amp;");
        assert_eq!(address(Path::new("/no such/a\"b.png")), "file:///no%20such/a%22b.png");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            assert_eq!(address(Path::new(std::ffi::OsStr::from_bytes(b"/a\\b\xFF.png"))), "file:///a%5Cb%FF.png");
        }
    }
}
