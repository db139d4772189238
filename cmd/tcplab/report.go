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
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/results"
)

func newReport() *cobra.Command {
	var format, matrix string
	command := &cobra.Command{
		Use:   "report [RUN...]",
		Short: "Print what came of a run: as a table, or for other programs",
		Long: `Print what came of a run (a folder below results/; default: results/latest), in one format:

  table     what tcplab run prints
  json      one document: how many passed, failed, were skipped and are missing, and all records
  junit     JUnit's XML, which most tools of continuous integration read
  github    annotations for the log of a step of GitHub Actions
  markdown  a page, such as for GitHub's $GITHUB_STEP_SUMMARY

Several runs make one report, of which each kernel and seed has its own part. What did not run
to its end is in each format. docs/ci.md has more of them.

With --matrix PATTERN it prints scenarios as one table in Markdown, rows against columns: those
whose text matches a regular expression with the groups (?P<row>...) and (?P<column>...).

It exits with 0 if the report is written, whatever came of the run.`,
		Example: `  tcplab report
  tcplab report results/today-6.1 results/today-6.12 --format junit >junit.xml
  tcplab report --format markdown >>"$GITHUB_STEP_SUMMARY"
  tcplab report --matrix '^noticing that (?P<column>.*?): (?P<row>.*)'
  tcplab report --format json | jq '.scenarios[].record | select(.failure) | .scenario'`,
		RunE: func(command *cobra.Command, args []string) error {
			reporter, err := results.NewReporter(format, results.Terminal(os.Stdout))
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
				return reporter(command.OutOrStdout(), report)
			}
			table, err := results.NewMatrix(report, pattern)
			if err != nil {
				return fmt.Errorf("--matrix: %w", err)
			}
			return table.Markdown(command.OutOrStdout())
		},
	}
	command.Flags().StringVar(&format, "format", results.Formats()[0], "one of "+strings.Join(results.Formats(), ", "))
	command.Flags().StringVar(&matrix, "matrix", "", "print scenarios as a table: a regular expression with the groups row and column")
	command.MarkFlagsMutuallyExclusive("format", "matrix")
	return command
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
		reporter, err := results.NewReporter(format, results.TableOptions{})
		if err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
		files = append(files, reportFile{flag: flag, path: path, report: reporter})
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

// write writes a report, whole or not at all.
func (f reportFile) write(report results.Report, out io.Writer) error {
	var text bytes.Buffer
	if err := f.report(&text, report); err != nil {
		return fmt.Errorf("%s: %w", f.flag, err)
	}
	if f.path == standardOutput {
		_, err := out.Write(text.Bytes())
		return err
	}
	if err := scratch.WriteFile(f.path, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("%s: %w", f.flag, err)
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
