// Package figure draws one plot of a picture for a paper or for slides, as SVG, PDF or PNG.
//
//	err := figure.Write(file, p, figure.Options{What: "tsg", Format: "pdf", Connection: 0})
//
// What to draw is package picture's. Black and white is enough to read it: lines differ in their dashes, and marks in their shapes and
// letters. One code draws all formats, on a canvas of lines, areas and text (canvas.go). PDF and PNG have text as outlines of the Go fonts,
// so that a paper needs no font; SVG has text, which a program for drawings can change.
//
// It needs nothing. Its tests:
//
//	go test ./internal/figure
//	go test ./internal/figure -run Golden -update
package figure
