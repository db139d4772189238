package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/figure"
)

// A figureFile is where a command draws a figure of what it has measured; empty: nowhere.
type figureFile string

// add gives a command the option.
func (f *figureFile) add(command *cobra.Command) {
	command.Flags().StringVarP((*string)(f), "output", "o", "", "draw a figure into this file: its name ends in .svg, .pdf or .png")
}

func (f figureFile) format() string {
	return strings.ToLower(strings.TrimPrefix(filepath.Ext(string(f)), "."))
}

// check refuses what cannot be drawn before anything is measured: graph is that of figures that are not there yet. It removes the figure of an earlier run.
func (f figureFile) check(graph func() (figure.Graph, error)) error {
	if f == "" {
		return nil
	}
	if err := figure.CheckFormat(f.format()); err != nil {
		return fmt.Errorf("--output %s: name a file that ends in .%s: %w", string(f), strings.Join(figure.Formats, ", ."), err)
	}
	if _, err := graph(); err != nil {
		return fmt.Errorf("--output %s: %w", string(f), err)
	}
	return reportFile{flag: "--output " + string(f), path: string(f)}.clear()
}

// write draws, and says so where it does not disturb what is printed.
func (f figureFile) write(command *cobra.Command, graph func() (figure.Graph, error)) error {
	if f == "" {
		return nil
	}
	g, err := graph()
	if err == nil {
		err = writeTo(command.ErrOrStderr(), "figure", string(f), func(w io.Writer) error { return figure.WriteGraph(w, g, f.format()) })
	}
	if err != nil {
		return fmt.Errorf("--output %s: %w", string(f), err)
	}
	return nil
}
