// The elements that a workgroup works on: neighbours side by side, four for each invocation. A GPU launches one workgroup after the other (an H200
// 1,600 in a microsecond), so there must not be too many of them.
const INVOCATIONS: u32 = 256u;
const BLOCK: u32 = 4u * INVOCATIONS;
