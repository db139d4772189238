package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/vm"
)

func newKernels() *cobra.Command {
	command := &cobra.Command{
		Use:   "kernels",
		Short: "List the guest kernels that are here, and those that can be fetched",
		Long: `List the guest kernels in tcplab's cache, with the name by which run, seeds and reproducible take
each (--kernel NAME), and those of Debian's that can be fetched.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			cache, err := vm.CacheDir()
			if err != nil {
				return err
			}
			stored, err := vm.StoredKernels(cache)
			if err != nil {
				return err
			}
			return printKernels(command.OutOrStdout(), cache, stored)
		},
	}
	command.AddCommand(newKernelsFetch())
	return command
}

func newKernelsFetch() *cobra.Command {
	return &cobra.Command{
		Use:   "fetch VERSION...",
		Short: "Download guest kernels of Debian's into the cache",
		Long: `Download guest kernels of Debian's, the newest of each series, into tcplab's cache. It needs apt-get
with an archive of Debian's among its sources, of any release, and no root. Nothing of the
system is changed.`,
		Example: "  tcplab kernels fetch 6.12",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			out := command.OutOrStdout()
			for _, name := range args {
				kernel, err := vm.FetchKernel(command.Context(), vm.KernelOptions{
					Name: name, Progress: func(line string) { fmt.Fprintln(out, line) },
				})
				if err != nil {
					return err
				}
				fmt.Fprintf(out, "kernel %s: %s\n", name, kernel.Release)
			}
			return nil
		},
	}
}

func printKernels(out io.Writer, cache string, stored []vm.Stored) error {
	fmt.Fprintf(out, "In %s:\n", cache)
	lines := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(stored) == 0 {
		fmt.Fprintln(lines, "  none")
	} else {
		fmt.Fprintln(lines, "  NAME\tRELEASE\tSIZE\tSOURCE")
	}
	have := map[string]bool{}
	for _, kernel := range stored {
		note := ""
		if kernel.Default {
			note = " (the default)"
		}
		fmt.Fprintf(lines, "  %s\t%s\t%s\t%s%s\n", kernel.Name, kernel.Release, humanize.Bytes(uint64(kernel.Bytes)), kernel.Source, note)
		have[vm.Series(kernel.Release)] = true
	}
	if err := lines.Flush(); err != nil {
		return err
	}
	var missing []string
	for _, offer := range vm.Offers() {
		if !have[offer.Name] {
			missing = append(missing, fmt.Sprintf("  tcplab kernels fetch %-5s Debian's, from %s\n", offer.Name, offer.Suite))
		}
	}
	if len(missing) > 0 {
		fmt.Fprintf(out, "\nTo be fetched:\n%s", strings.Join(missing, ""))
	}
	return nil
}
