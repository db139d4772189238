package oracle

// Timeouts is for the tests that ask a kernel.
var Timeouts = timeouts
