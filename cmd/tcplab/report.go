package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/htmlreport"
	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/results"
)

func newReport() *cobra.Command {
	var format, matrix, output string
	command := &cobra.Command{
		Use:   "report [RUN... | CAPTURE... | SWEEP.json [RUN...]]",
		Short: "Print what came of a run: as a table, a page with pictures, or for other programs",
		Long: `Print what came of a run (a folder below results/; default: results/latest), in one format:

  table     what tcplab run prints
  json      one document: how many passed, failed, were skipped and are missing, and all records
  junit     JUnit's XML, which most tools of continuous integration read
  github    annotations for the log of a step of GitHub Actions
  markdown  a page, such as for GitHub's $GITHUB_STEP_SUMMARY
  html      one file with pictures of all packets, for a browser: RUN/report.html, or what --output names

Of captures (pcapng or pcap files, of any program) it makes such a page, too: NAME.html in this folder.
docs/report.md says how to read it.

Of what tcplab sweep --json has printed it makes a page with the figure, a heat map, box plots and
distributions, whose points lead to their scenarios if their runs are named behind it.

Several runs make one report, of which each kernel and seed has its own part; runs of the same kernel
and seed that have a scenario in common are told apart by their names. What did not run to its end is
in each format. docs/ci.md has more of them.

With --matrix PATTERN it prints scenarios as one table in Markdown, rows against columns: those
whose text matches a regular expression with the groups (?P<row>...) and (?P<column>...).

It exits with 0 if the report is written, whatever came of the run.`,
		Example: `  tcplab report
  tcplab report --format html
  tcplab report theirs.pcapng --output theirs.html
  tcplab sweep --cc cubic,bbr --loss 0.01%..5%/4 --rate 20mbit --rtt 40ms --seeds 1-3 --results results/loss --json >loss.json
  tcplab report loss.json results/loss/2*
  tcplab report results/today-6.1 results/today-6.12 --format html --output both.html
  tcplab report results/today-6.1 results/today-6.12 --format junit >junit.xml
  tcplab report --format markdown >>"$GITHUB_STEP_SUMMARY"
  tcplab report --matrix '^noticing that (?P<column>.*?): (?P<row>.*)'
  tcplab report --format json | jq '.scenarios[].record | select(.failure) | .scenario'`,
		RunE: func(command *cobra.Command, args []string) error {
			sweep, runs, err := sweepOf(args)
			if err != nil {
				return err
			}
			if sweep != nil {
				if command.Flags().Changed("format") && format != htmlFormat {
					return fmt.Errorf("--format %s: of a sweep there is %s only (tcplab sweep prints a table)", format, htmlFormat)
				}
				return reportSweep(command.OutOrStdout(), args[0], sweep, runs, output)
			}
			if len(args) > 0 && areFiles(args) {
				if command.Flags().Changed("format") && format != htmlFormat {
					return fmt.Errorf("--format %s: of captures there is %s only (tcplab analyze prints text and JSON)", format, htmlFormat)
				}
				return reportCaptures(command.OutOrStdout(), args, output)
			}
			reporter, err := newReporter(format, results.Terminal(os.Stdout))
			if err != nil {
				return fmt.Errorf("--format: %w", err)
			}
			var pattern *regexp.Regexp
			if matrix != "" {
				if pattern, err = regexp.Compile(matrix); err != nil {
					return fmt.Errorf("--matrix: %w", err)
				}
			}
			if len(args) == 0 {
				args = []string{filepath.Join("results", results.Latest)}
			}
			report, err := reportOf(args)
			if err != nil {
				return err
			}
			if pattern == nil {
				if format == htmlFormat && output == "" {
					output = filepath.Join(args[0], "report.html")
				}
				return writeTo(command.OutOrStdout(), "report", output, func(w io.Writer) error { return reporter(w, report) })
			}
			table, err := results.NewMatrix(report, pattern)
			if err != nil {
				return fmt.Errorf("--matrix: %w", err)
			}
			return table.Markdown(command.OutOrStdout())
		},
	}
	command.Flags().StringVar(&format, "format", results.Formats()[0], "one of "+strings.Join(formats(), ", "))
	command.Flags().StringVarP(&output, "output", "o", "", "write it to a file; - is standard output")
	command.Flags().StringVar(&matrix, "matrix", "", "print scenarios as a table: a regular expression with the groups row and column")
	command.MarkFlagsMutuallyExclusive("format", "matrix")
	command.MarkFlagsMutuallyExclusive("output", "matrix")
	return command
}

// htmlFormat is the format that package results does not have: its page draws what package analysis says of captures.
const htmlFormat = "html"

// formats are the names that newReporter takes.
func formats() []string { return append(results.Formats(), htmlFormat) }

// newReporter is results.NewReporter, and knows the page.
func newReporter(format string, o results.TableOptions) (results.Reporter, error) {
	if format == htmlFormat {
		return func(w io.Writer, report results.Report) error {
			return htmlreport.Write(w, report, htmlreport.Options{})
		}, nil
	}
	if !slices.Contains(results.Formats(), format) {
		return nil, fmt.Errorf("format %q: allowed are %s", format, strings.Join(formats(), ", "))
	}
	return results.NewReporter(format, o)
}

// areFiles reports whether all of these are files, not folders. What is not there is none: who opens it says so.
func areFiles(paths []string) bool {
	return !slices.ContainsFunc(paths, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || info.IsDir()
	})
}

// reportCaptures writes a page of captures.
func reportCaptures(out io.Writer, files []string, output string) error {
	if output == "" {
		name := filepath.Base(files[0])
		output = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), filepath.Ext(strings.TrimSuffix(name, ".gz"))) + ".html"
	}
	return writeTo(out, "report", output, func(w io.Writer) error { return htmlreport.WriteCapture(w, files, htmlreport.Options{}) })
}

// mostSweep is how large the JSON of a sweep is at most.
const mostSweep = 256 << 20

// sweepOf is the first file, if that is JSON, and the other arguments. A capture never begins with a brace.
func sweepOf(args []string) (document []byte, runs []string, err error) {
	if len(args) == 0 || !areFiles(args[:1]) {
		return nil, args, nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // read only: there is nothing that an error could tell
	first := make([]byte, 64)
	n, err := io.ReadFull(f, first)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(bytes.TrimSpace(first[:n]), []byte("{")) {
		return nil, args, nil // whoever reads it says what it is not
	}
	rest, err := io.ReadAll(io.LimitReader(f, mostSweep+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", args[0], err)
	}
	if len(rest) > mostSweep {
		return nil, nil, fmt.Errorf("%s: it has more than %d bytes", args[0], mostSweep)
	}
	return append(first[:n:n], rest...), args[1:], nil
}

// reportSweep writes the page of a sweep.
func reportSweep(out io.Writer, file string, document []byte, runs []string, output string) error {
	var all results.Report
	for _, path := range runs {
		one, err := reportOf([]string{path})
		if err != nil {
			return err
		}
		// Not joined: runs of one folder can have a cell twice, with the same bytes.
		all.Records, all.Missing = append(all.Records, one.Records...), all.Missing+one.Missing
	}
	if output == "" {
		output = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)) + ".html"
	}
	err := writeTo(out, "report", output, func(w io.Writer) error { return htmlreport.WriteSweep(w, document, all, htmlreport.Options{}) })
	if errors.Is(err, htmlreport.ErrNoSweep) {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return err
}

// writeTo writes a file of a kind, whole or not at all, and says so; without a name it is standard output.
func writeTo(out io.Writer, what, path string, write func(io.Writer) error) error {
	if path == "" {
		path = standardOutput
	}
	size, err := writeWhole(out, path, write)
	if err == nil && path != standardOutput {
		fmt.Fprintf(out, "%s: %s (%s)\n", what, text.Printable(relative(path)), humanize.Bytes(uint64(size))) //nolint:gosec // a length
	}
	return err
}

// writeWhole writes a file, or standard output, whole or not at all, and returns how many bytes that were.
func writeWhole(out io.Writer, path string, write func(io.Writer) error) (size int, err error) {
	var content bytes.Buffer
	if err := write(&content); err != nil {
		return 0, err
	}
	if path == standardOutput {
		return out.Write(content.Bytes())
	}
	return content.Len(), scratch.WriteFile(path, content.Bytes(), 0o644)
}

// reportOf is the report of the runs in these folders.
func reportOf(paths []string) (results.Report, error) {
	var reports []results.Report
	for _, path := range paths {
		run, err := results.Open(path)
		if err != nil {
			return results.Report{}, err
		}
		report, err := run.Report()
		if err != nil {
			return results.Report{}, err
		}
		reports = append(reports, report)
	}
	return results.Join(reports...)
}

// A reportFile is a report that a run is to leave.
type reportFile struct {
	flag   string // as it was given, for messages
	format string
	path   string // standardOutput: print it
	report results.Reporter
}

// standardOutput is the name of a file that stands for it.
const standardOutput = "-"

// reportFiles are the files that --junit FILE and --report FORMAT=FILE ask for.
func reportFiles(junit string, wanted []string) ([]reportFile, error) {
	var files []reportFile
	add := func(flag, format, path string) error {
		// Files have no colours, and the width of where they are read is not known.
		reporter, err := newReporter(format, results.TableOptions{})
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
		files = append(files, reportFile{flag: flag, format: format, path: path, report: reporter})
		return nil
	}
	if junit != "" {
		if err := add("--junit "+junit, "junit", junit); err != nil {
			return nil, err
		}
	}
	for _, text := range wanted {
		format, path, _ := strings.Cut(text, "=")
		if path == "" {
			return nil, fmt.Errorf("--report %s: give it as FORMAT=FILE, such as markdown=summary.md", text)
		}
		if err := add("--report "+text, format, path); err != nil {
			return nil, err
		}
	}
	named := map[string]string{}
	for _, f := range files {
		name := filepath.Clean(f.path)
		if other := named[name]; other != "" && f.path != standardOutput {
			return nil, fmt.Errorf("%s and %s: give each report a file of its own", other, f.flag)
		}
		named[name] = f.flag
	}
	return files, nil
}

// clear removes the report of an earlier run, and finds out before anything runs whether one can be written.
func (f reportFile) clear() error {
	if f.path == standardOutput {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("%s: %w", f.flag, err)
	} else if !info.IsDir() {
		return fmt.Errorf("%s: %s is not a folder", f.flag, filepath.Dir(f.path))
	}
	if err := writable(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("%s: nothing can be written there: %w", f.flag, err)
	}
	info, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", f.flag, err)
	case info.IsDir():
		return fmt.Errorf("%s: is a folder: name a file", f.flag)
	case !info.Mode().IsRegular(): // such as /dev/stdout, which would be replaced
		return fmt.Errorf("%s: is no regular file: name one, or %s for standard output", f.flag, standardOutput)
	}
	if err := os.Remove(f.path); err != nil {
		return fmt.Errorf("%s: the report of an earlier run is in the way: %w", f.flag, err)
	}
	return nil
}

// writable tells whether a file can be made in a folder, by making one: permissions do not say it of all file systems.
func writable(dir string) error {
	file, err := scratch.File(dir)
	if err != nil {
		return err
	}
	return file.Close()
}

// write writes a report, whole or not at all.
func (f reportFile) write(report results.Report, out io.Writer) error {
	if _, err := writeWhole(out, f.path, func(w io.Writer) error { return f.report(w, report) }); err != nil {
		return fmt.Errorf("%s: %w", f.flag, err)
	}
	if f.format == htmlFormat && f.path != standardOutput { // the others are for programs, which know where they asked for them
		fmt.Fprintf(out, "report: %s\n", text.Printable(relative(f.path)))
	}
	return nil
}

// writeReports writes all of them, also where one cannot be.
func writeReports(files []reportFile, report results.Report, out io.Writer) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.write(report, out))
	}
	return errors.Join(errs...)
}
