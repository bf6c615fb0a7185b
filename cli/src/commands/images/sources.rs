//! Image sources: files, folders, patterns and lists.

use crate::commands::{AnyError, Result, note, of_file};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, Read};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;
use walkdir::WalkDir;

/// Extensions of image files in folders.
const EXTENSIONS: [&str; 17] =
    ["png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif", "tif", "tiff", "pnm", "pbm", "pgm", "ppm", "jxl", "heic", "heif", "hif"];

/// Returns the images that the arguments name, each once and in argument order. Images of a folder are sorted by name.
/// Files of folders in other formats are counted in a note.
pub fn sources(arguments: &[PathBuf], globs: &[String]) -> Result<Vec<PathBuf>> {
    let filter = Filter::new(globs)?;
    let mut others = BTreeMap::new();
    let mut found = Vec::new();
    for argument in arguments {
        let before = found.len();
        if argument.as_os_str() == "-" {
            found.extend(listed(std::io::stdin().lock())?);
        } else if argument.is_dir() {
            let is_wanted = |path: &Path| {
                let is_wanted = filter.admits(path);
                if !is_wanted && filter.by_extension && !filter.excluded.is_match(path) {
                    let extension = path
                        .extension()
                        .map_or("without an extension".to_owned(), |extension| format!("with .{}", extension.to_string_lossy().to_lowercase()));
                    *others.entry(extension).or_insert(0) += 1;
                }
                is_wanted
            };
            for (kind, count) in walk(argument, usize::MAX, is_wanted, &mut found)? {
                *others.entry(kind.to_owned()).or_insert(0) += count;
            }
        } else if !argument.exists() && is_pattern(argument) {
            let pattern = matcher(&argument.to_string_lossy(), glob(&argument.to_string_lossy())?)?;
            let start = beginning(argument);
            let name = |path: &Path| start.join(path);
            // A pattern without ** limits the depth of its matches.
            let below = argument.components().count() - without_dot(&start).components().count().min(argument.components().count());
            let depth = if argument.to_string_lossy().contains("**") { usize::MAX } else { below };
            let before = found.len();
            walk(&start, depth, |path| pattern.is_match(without_dot(&name(path))), &mut found)?;
            // `walk` also adds unreadable entries; drop those that do not match.
            let matches = found.split_off(before);
            found.extend(matches.into_iter().filter(|path| pattern.is_match(without_dot(path))));
        } else {
            if !argument.exists() && ["http://", "https://", "file://"].iter().any(|scheme| argument.to_string_lossy().starts_with(scheme)) {
                return Err(format!("{}: expected a file, found a URL; give the path of a file", argument.to_string_lossy()).into());
            }
            // A missing file is reported when it is read.
            found.push(argument.clone());
            continue;
        }
        if found.len() == before {
            let place = if argument.as_os_str() == "-" { "standard input".to_owned() } else { argument.display().to_string() };
            return Err(format!("{place}: expected images, found none").into());
        }
    }
    if !others.is_empty() {
        let kinds: Vec<String> = others.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        note(&format!("skipped: {}", kinds.join(", ")));
    }
    found.iter_mut().for_each(|path| *path = without_dot(path));
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    Ok(found)
}

/// Maximum length of a path in a list, in bytes: eight times Linux's own.
const LONGEST_PATH: u64 = 32 << 10;

/// Reads a list of paths, one a line, or each ended by NUL as `find -print0` does. Each path is returned once, so that lists without end take no memory if they
/// repeat themselves.
fn listed(mut list: impl BufRead) -> Result<Vec<PathBuf>> {
    let of_list = of_file(Path::new("standard input"));
    let mut start = Vec::new();
    list.by_ref().take(LONGEST_PATH).read_until(0, &mut start).map_err(&of_list)?;
    let has_nul = start.ends_with(&[0]);
    if has_nul && image::guess_format(&[&start, list.fill_buf().map_err(&of_list)?].concat()).is_ok() {
        return Err("standard input: expected a list of paths, found an image; name its file instead of -".into());
    }
    let mut list = start.chain(list);
    let (mut paths, mut seen, mut line) = (Vec::new(), HashSet::new(), Vec::new());
    while list.by_ref().take(LONGEST_PATH).read_until(if has_nul { 0 } else { b'\n' }, &mut line).map_err(&of_list)? > 0 {
        if line.len() as u64 == LONGEST_PATH {
            return Err(format!("standard input: expected a list of paths, found one of {LONGEST_PATH} bytes or more").into());
        }
        // Windows editors prepend a byte-order mark.
        let text = if paths.is_empty() { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line) } else { &line };
        let text = str::from_utf8(text).map_err(|_| "standard input: expected a list of paths in UTF-8, one per line")?;
        let text = if has_nul { text.trim_end_matches('\0') } else { text.trim_end_matches(['\r', '\n']) };
        if text.contains('\0') {
            return Err("standard input: expected paths that all end by line breaks or all by NUL, found both".into());
        }
        if !text.trim().is_empty() && !seen.contains(text) {
            seen.insert(text.to_owned());
            paths.push(PathBuf::from(text));
        }
        line.clear();
    }
    Ok(paths)
}

/// Returns whether a path has the extension of an image file.
pub fn has_image_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| EXTENSIONS.contains(&extension.to_string_lossy().to_lowercase().as_str()))
}

/// Returns whether a file begins as an image does.
pub fn is_image(path: &Path) -> bool {
    let mut start = Vec::new();
    let is_read = path.is_file() && File::open(path).and_then(|file| file.take(16).read_to_end(&mut start)).is_ok();
    is_read && image::guess_format(&start).is_ok()
}

/// Adds the wanted files below a folder, down to a depth, selected by their paths within it. Skips hidden files and folders. Returns the numbers of entries that
/// look wanted and are no files.
///
/// # Errors
/// If the list of a folder's files breaks off: images would be missing.
fn walk(folder: &Path, depth: usize, mut is_wanted: impl FnMut(&Path) -> bool, found: &mut Vec<PathBuf>) -> Result<BTreeMap<&'static str, usize>> {
    let mut others = BTreeMap::new();
    let walk = WalkDir::new(folder).max_depth(depth);
    let is_shown = |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
    for entry in walk.follow_links(true).sort_by_file_name().into_iter().filter_entry(is_shown) {
        let entry = match entry {
            Ok(entry) => entry,
            // Unreadable entries fail later, when they are read.
            Err(error) => {
                let Some(path) = error.path() else { return Err(of_listing(folder, error)) };
                if !path.is_symlink() {
                    found.push(path.to_owned());
                } else if has_image_extension(path) {
                    *others.entry("links that lead nowhere").or_insert(0) += 1;
                }
                continue;
            }
        };
        let within = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        if entry.file_type().is_file() {
            if is_wanted(within) {
                found.push(entry.into_path());
            }
        } else if !entry.file_type().is_dir() && has_image_extension(entry.path()) {
            *others.entry("pipes and devices").or_insert(0) += 1;
        }
    }
    Ok(others)
}

/// Returns the error of a folder whose files cannot be listed.
pub fn of_listing(folder: &Path, error: walkdir::Error) -> AnyError {
    match error.into_io_error() {
        Some(error) => of_file(folder)(error),
        None => format!("{}: its links lead back to it", folder.display()).into(),
    }
}

/// Filter for the files of a folder.
struct Filter {
    included: GlobSet,
    excluded: GlobSet,
    by_extension: bool,
}

impl Filter {
    fn new(globs: &[String]) -> Result<Filter> {
        let (excluded, included): (Vec<&String>, Vec<&String>) = globs.iter().partition(|glob| glob.starts_with('!'));
        let set = |globs: Vec<&String>| -> Result<GlobSet> {
            let mut builder = GlobSetBuilder::new();
            for text in globs {
                let text = text.trim_start_matches('!');
                if text.is_empty() {
                    return Err("--glob: expected a pattern such as '*.jpg', found nothing".into());
                }
                // A pattern without a slash matches file names in any folder.
                let text = if text.contains('/') { text.to_owned() } else { format!("**/{text}") };
                builder.add(glob(&text).map_err(|error| format!("--glob {error}"))?);
            }
            builder.build().map_err(|error| format!("--glob: expected simpler patterns: {error}").into())
        };
        Ok(Filter { by_extension: included.is_empty(), included: set(included)?, excluded: set(excluded)? })
    }

    fn admits(&self, path: &Path) -> bool {
        (if self.by_extension { has_image_extension(path) } else { self.included.is_match(path) }) && !self.excluded.is_match(path)
    }
}

/// Maximum length of a pattern in bytes.
const LONGEST: usize = 4096;

/// Maximum number of braces in a pattern. The `globset` crate reads them by recursion.
const BRACES: usize = 64;

/// Parses a pattern.
fn glob(text: &str) -> Result<globset::Glob> {
    if text.len() > LONGEST || text.matches('{').count() > BRACES {
        let start: String = text.chars().take(20).collect();
        return Err(format!("{start}...: expected a pattern of at most {LONGEST} bytes and {BRACES} braces, found a larger one").into());
    }
    let built = GlobBuilder::new(text.trim_start_matches("./")).literal_separator(true).build();
    built.map_err(|error| format!("{text}: expected a pattern such as **/*.jpg: {error}").into())
}

/// Returns what matches paths by a pattern. Other than the pattern's own matcher, it does not panic at one that is too large.
fn matcher(text: &str, glob: globset::Glob) -> Result<GlobSet> {
    GlobSetBuilder::new().add(glob).build().map_err(|error| format!("{text}: expected a simpler pattern: {error}").into())
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[', '{'])
}

/// Returns the folder that contains all matches of a pattern.
fn beginning(pattern: &Path) -> PathBuf {
    let literal: PathBuf = pattern.components().take_while(|part| !is_pattern(Path::new(part))).collect();
    if literal.as_os_str().is_empty() { PathBuf::from(".") } else { literal }
}

/// Start of the escape of a byte in a name.
const ESCAPE: &str = "\\x";

/// Returns a path as printed in results. Bytes that are not valid UTF-8 become escapes such as \xFF, so that names that differ in them stay different; so does, where
/// it separates no folders, the backslash of what looks like such an escape.
pub fn name(path: &Path) -> String {
    let mut name = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        if cfg!(unix) {
            name.push_str(&chunk.valid().replace(ESCAPE, "\\x5Cx"))
        } else {
            name.push_str(chunk.valid())
        }
        chunk.invalid().iter().for_each(|byte| name.push_str(&format!("{ESCAPE}{byte:02X}")));
    }
    name
}

/// Returns the path of a [`name`].
#[cfg(unix)]
pub fn path_of(name: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut parts = name.split(ESCAPE);
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => bytes.extend(std::iter::once(byte).chain(part[2..].bytes())),
            // A name of an earlier version.
            None => bytes.extend([ESCAPE, part].concat().bytes()),
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// Returns the path of a [`name`].
#[cfg(not(unix))]
pub fn path_of(name: &str) -> PathBuf {
    PathBuf::from(name)
}

/// Returns the size and the modification time of a file.
pub fn stamp(file: &Path) -> Option<String> {
    let metadata = std::fs::metadata(file).ok()?;
    let changed = match metadata.modified().ok()?.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos().to_string(),
        Err(before) => format!("-{}", before.duration().as_nanos()),
    };
    Some(format!("{} {changed}", metadata.len()))
}

/// Returns a path without `.` components, as [`sources`] does.
pub fn without_dot(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_end_paths_by_newline_or_nul() {
        let paths =
            |bytes: &[u8]| listed(bytes).map(|paths| paths.iter().map(|path| name(path)).collect::<Vec<_>>()).map_err(|error| error.to_string());
        assert_eq!(paths(b"a.png\r\n\nb c.png").expect("a list"), ["a.png", "b c.png"]);
        assert_eq!(paths(b"a\n.png\0b.png\0").expect("a list"), ["a\n.png", "b.png"]);
        for image in [&b"\x89PNG\r\n\x1a\n\0\0"[..], b"RIFF\x24\0\0\0WEBPVP8 "] {
            assert!(paths(image).expect_err("an image").contains("found an image"));
        }
        assert!(paths(b"\xFF.png").expect_err("not UTF-8").contains("UTF-8"));
        assert_eq!(paths(b"\xEF\xBB\xBFa.png\na.png\nb.png\na.png").expect("a list"), ["a.png", "b.png"]);
        assert!(paths(&[&b"a\n".repeat(20_000)[..], b"b\0\n"].concat()).expect_err("both").contains("found both"));
        assert!(paths(&[b'a'; 40_000]).expect_err("no path").contains("32768 bytes"));
    }

    #[cfg(unix)]
    #[test]
    fn non_utf8_names_stay_distinct() {
        use std::os::unix::ffi::OsStrExt;
        let of = |bytes: &[u8]| name(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(of("photos/ü.png".as_bytes()), "photos/ü.png");
        assert_eq!([of(b"a\xFF.png"), of(b"a\xFE.png"), of(b"a\\xFF.png")], ["a\\xFF.png", "a\\xFE.png", "a\\x5CxFF.png"]);
        for bytes in [&b"a\xFF.png"[..], b"a\\xFF.png", b"\\x5Cx\\x", b"\xFF\\xf\xFE", "ü\\xü".as_bytes()] {
            assert_eq!(path_of(&of(bytes)).as_os_str().as_bytes(), bytes);
        }
    }

    #[test]
    fn folders_patterns_and_files_are_listed_once_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.PNG", "a.jpg", "notes.txt", ".hidden.png", "deep/er/c.webp", "deep/d.png", ".cache/e.png"] {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, "").expect("it is written");
        }
        let list = |arguments: &[&str], globs: &[&str]| {
            let arguments: Vec<PathBuf> = arguments.iter().map(|argument| folder.path().join(argument)).collect();
            let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
            let found = sources(&arguments, &globs).map_err(|error| error.to_string())?;
            Ok::<_, String>(found.iter().map(|path| path.strip_prefix(folder.path()).expect("below").display().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(list(&[""], &[]).expect("images"), ["a.jpg", "b.PNG", "deep/d.png", "deep/er/c.webp"]);
        assert_eq!(list(&["deep", "a.jpg", "deep/d.png"], &[]).expect("images"), ["deep/d.png", "deep/er/c.webp", "a.jpg"]);
        assert_eq!(list(&[""], &["*.{png,jpg}", "!deep/**"]).expect("images"), ["a.jpg"]);
        assert_eq!(list(&[""], &["*.txt"]).expect("what was asked for"), ["notes.txt"]);
        assert_eq!(list(&["**/*.png"], &[]).expect("images"), ["deep/d.png"]);
        assert_eq!(list(&["*.{jpg,PNG}"], &[]).expect("images"), ["a.jpg", "b.PNG"]);
        assert_eq!(list(&["missing.png"], &[]).expect("a path"), ["missing.png"]);
        assert!(list(&["*.gif"], &[]).expect_err("none").contains("found none"));
        assert!(list(&[""], &["[x"]).expect_err("no pattern").contains("expected a pattern"));
        for count in [250, 60_000] {
            let large = format!("{}a*{}", "{".repeat(count), "}".repeat(count));
            list(&[&large], &[]).and(list(&[""], &[&large])).expect_err("too large");
        }
        assert!(list(&[&"*".repeat(100_000)], &[]).expect_err("too long").contains("4096 bytes"));
        list(&[&"[a-z]".repeat(800)], &[]).expect_err("no match");
    }
}
