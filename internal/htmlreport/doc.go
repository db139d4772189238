// Package htmlreport writes what came of a run, or a capture that somebody else made, as one page of HTML that needs nothing else: it
// opens from a disk or a mail attachment, and asks no host for anything.
//
//	err := htmlreport.Write(file, report, htmlreport.Options{})
//	err := htmlreport.WriteCapture(file, []string{"theirs.pcapng"}, htmlreport.Options{})
//
// What to draw is package picture's. This package packs it (block.go says how the data is laid out, pack.go gives each scenario its share of the
// room), puts it into the page (page.go), and has the programs that draw it in a browser, in assets: one classic script for each thing, joined into one in the order of the list scripts. They make elements
// and text, and never parse HTML, since what is shown was written by others: claims, file names, output, captures. The page's
// Content-Security-Policy allows the scripts and the style that it came with, by their hashes, and nothing else.
//
// docs/report.md says how to read the page.
//
// It needs nothing to write the page. Its tests:
//
//	go test ./internal/htmlreport                       # the data; the scripts under node, where that is installed
//	cd internal/htmlreport/browsertest && go test .     # the page in Chromium, where that is installed; a module of its own
package htmlreport
