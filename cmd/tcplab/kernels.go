package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/vm"
)

// kernelNames is the help about what --kernel takes.
const kernelNames = `A kernel is named by

  default                 this system's own (linux-image-amd64, linux-image-generic), downloaded once: 6.1 on Debian 12.
                          It is what is taken without a name; TCPLAB_KERNEL, if set, is taken instead
  6.1, 6.12, 7.3          a version: the newest of it that is in the cache, else in this system's archive, else in Debian's
                          (backports, then unstable, stable, oldstable)
  newest                  the newest that Debian has in its backports or in unstable, as of the last "fetch newest"
  7.3.4+deb13-cloud-amd64 a release, of any flavour; a version alone means Debian's amd64 or Ubuntu's generic
  linux-image-cloud-amd64 a package that apt knows, as of the last fetch

or by the path of one's own:

  FOLDER                  with nothing but one kernel's packages (.deb, .rpm), or that they were unpacked into
  A.deb:B.deb, A.rpm:...  its packages one by one: image, modules (and on Debian since 6.18 linux-base-*)
  boot/vmlinuz-6.1        an image; its modules are in lib/modules of the folder above, or in /lib/modules
  vmlinux:FOLDER          an image and the folder that has its lib/modules

Needed are netem and the other modules that tcplab loads: in Fedora's kernel-modules-extra, for Ubuntu's azure in
linux-modules-extra-*. An image can be compressed by gzip, xz, zstd or lz4, or not at all; modules by gzip, xz or zstd.`

func newKernels() *cobra.Command {
	var update bool
	command := &cobra.Command{
		Use:   "kernels",
		Short: "List the guest kernels that are here, and those that can be fetched",
		Long: `List the guest kernels in tcplab's cache, with the name by which run, seeds and reproducible take
each (--kernel NAME), and those that can be fetched: what was seen when one was last fetched, or with
--update what there is now.

` + kernelNames,
		Example: `  tcplab kernels --update
  tcplab kernels fetch newest
  tcplab run --kernel 6.1,6.12,newest`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			cache, err := vm.CacheDir()
			if err != nil {
				return err
			}
			out := command.OutOrStdout()
			if update {
				_, err := vm.LookForKernels(command.Context(), vm.KernelOptions{
					Cache: cache, Progress: func(line string) { fmt.Fprintln(command.ErrOrStderr(), line) },
				})
				if err != nil {
					return err
				}
			}
			stored, err := vm.StoredKernels(cache)
			if err != nil {
				return err
			}
			if err := printStored(out, cache, stored); err != nil {
				return err
			}
			offers, err := vm.KnownOffers(cache)
			if err != nil {
				return err
			}
			return printOffers(out, vm.NewestOfEachSeries(offers), stored)
		},
	}
	command.Flags().BoolVar(&update, "update", false, "look at the archives first (some 30 MB of package lists)")
	command.AddCommand(newKernelsFetch())
	return command
}

func newKernelsFetch() *cobra.Command {
	return &cobra.Command{
		Use:   "fetch NAME...",
		Short: "Download guest kernels into the cache",
		Long: `Download guest kernels into tcplab's cache: the newest that each name means, unless it is there. It
needs apt-get and, for all but this system's own, an archive of Debian's among apt's sources, of any
release, or the package debian-archive-keyring; and no root. Nothing of the system is changed.

` + kernelNames,
		Example: `  tcplab kernels fetch 6.12 newest`,
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

func printStored(out io.Writer, cache string, stored []vm.Stored) error {
	limit, err := vm.KernelsLimit()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "In %s, of at most %s (%s):\n", cache, humanize.Bytes(uint64(limit)), vm.KernelsLimitVariable)
	lines := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(stored) == 0 {
		fmt.Fprintln(lines, "  none")
	} else {
		fmt.Fprintln(lines, "  NAME\tRELEASE\tSIZE\tSOURCE")
	}
	for _, kernel := range stored {
		fmt.Fprintf(lines, "  %s\t%s\t%s\t%s%s\n",
			kernel.Name, kernel.Release, humanize.Bytes(uint64(kernel.Bytes)), kernel.Source, notes(kernel))
	}
	return lines.Flush()
}

// notes says what other names mean a kernel.
func notes(kernel vm.Stored) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(kernel.Links)) {
		if name != vm.DefaultKernel {
			name += " as of " + kernel.Links[name].Format(time.DateOnly)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// printOffers lists the newest kernel of each series that is not here yet. Before anything was looked at, these are
// the names that have a meaning anywhere.
func printOffers(out io.Writer, offers []vm.Offer, stored []vm.Stored) error {
	fmt.Fprintln(out, "\nTo be fetched:")
	lines := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(offers) == 0 {
		for _, name := range []string{vm.DefaultKernel, "6.1", "6.12", vm.NewestKernel} {
			fmt.Fprintf(lines, "  tcplab kernels fetch %s\n", name)
		}
		fmt.Fprintln(lines, "  (tcplab kernels --update lists all that there is)")
		return lines.Flush()
	}
	have := map[string]bool{}
	for _, kernel := range stored {
		have[kernel.Release] = true
	}
	seen := offers[0].Seen
	for _, offer := range offers {
		if offer.Seen.After(seen) {
			seen = offer.Seen
		}
		note := ""
		if have[offer.Release] {
			note = " (is here)"
		}
		fmt.Fprintf(lines, "  tcplab kernels fetch %s\t%s\t%s\t%s%s\n", vm.Series(offer.Release), offer.Release,
			humanize.Bytes(uint64(offer.Bytes)), offer.Suite, note)
	}
	fmt.Fprintf(lines, "  (as of %s; tcplab kernels --update looks again)\n", seen.Local().Format(time.DateOnly))
	return lines.Flush()
}
