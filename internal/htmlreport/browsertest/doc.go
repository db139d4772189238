// Package browsertest opens the page of package htmlreport in Chromium, and does there what a reader does.
//
// It is a module of its own: what drives a browser is large, and nothing else needs it. It needs Debian's package chromium (or another
// Chrome on the PATH), and for two of its tests npm, which brings the judge of accessibility (axe-core) and that of types
// (TypeScript); what is missing is skipped by name.
//
//	cd internal/htmlreport/browsertest && go test .
//	TCPLAB_SCREENSHOTS=/tmp/shots go test . -run Screenshots
package browsertest
