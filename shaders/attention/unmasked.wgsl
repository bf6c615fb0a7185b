// Every token is a key.
fn ignored(b: u32, n: u32) -> bool {
    return false;
}
