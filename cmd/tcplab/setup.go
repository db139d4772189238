package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/vm"
)

func newSetup() *cobra.Command {
	var virtual bool
	command := &cobra.Command{
		Use:   "setup",
		Short: "Install what scenarios need and this machine lacks",
		Long: `Install what scenarios need and this machine lacks: nothing where they can run on this kernel;
elsewhere QEMU, by apt-get and, without root, sudo (from Debian's backports where the release's
own is known to compute wrong), and a guest kernel, as any user, in tcplab's cache.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			progress := func(line string) { fmt.Fprintln(command.OutOrStdout(), line) }
			if !virtual && runner.RealClock() == nil {
				return nil
			}
			found, err := vm.FindQEMU()
			if err != nil || found.Doubt() != "" {
				installErr := vm.InstallQEMU(command.Context(), progress)
				if found, err = vm.FindQEMU(); err != nil {
					return errors.Join(installErr, err)
				}
				if installErr != nil {
					progress("going on with the QEMU that is there: " + installErr.Error())
				}
				progress(found.Version)
				if doubt := found.Doubt(); doubt != "" {
					progress("note: it is " + doubt)
				}
			}
			cache, err := vm.CacheDir()
			if err != nil {
				return err
			}
			// Whether it is whole is found out each time that it is taken: by "tcplab run", right after this in make lab.
			if stored, err := vm.CachedKernel(cache); err == nil && stored.Bytes > 0 {
				return nil
			}
			_, err = vm.FindKernel(command.Context(), vm.KernelOptions{Progress: progress})
			return err
		},
	}
	command.Flags().BoolVar(&virtual, "virtual", false, "install what the virtual clock needs, also where this kernel would do")
	return command
}
