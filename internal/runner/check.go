package runner

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

// check refuses options that no session can have, before anything is compiled or downloaded. Messages name the
// command's flags, as the others of this package do.
func (o SessionOptions) check() error {
	if len(o.Kernels) > 1 && slices.Contains(o.Kernels, "") {
		return errors.New("--kernel: there is no name before, after or between commas")
	}
	for _, limit := range []func() (int64, error){vm.RunsLimit, vm.KernelsLimit, vm.SuitesLimit, vm.StatesLimit} {
		if _, err := limit(); err != nil {
			return err
		}
	}
	return nil
}

// Check refuses options that no run can have, as that of the session's does.
func (o RunOptions) Check() error {
	if err := o.Filter.validate(); err != nil {
		return err
	}
	if o.Jobs < 0 {
		return fmt.Errorf("--jobs %d: guests side by side are 1 or more", o.Jobs)
	}
	if o.Share < 0 {
		return fmt.Errorf("--share %d: scenarios in the same guest are 1 or more", o.Share)
	}
	if o.WallLimit < 0 {
		return fmt.Errorf("--limit %v: a guest needs more than no time", o.WallLimit)
	}
	if o.MIPS != 0 {
		if err := vm.CheckMIPS(o.MIPS); err != nil {
			return fmt.Errorf("--mips %d: %w", o.MIPS, err)
		}
	}
	if o.MemoryMiB != 0 {
		if err := vm.CheckMemory(o.MemoryMiB); err != nil {
			return fmt.Errorf("--memory %d: %w", o.MemoryMiB, err)
		}
	}
	for _, include := range o.Include {
		if err := vm.CheckInclude(include); err != nil {
			return fmt.Errorf("--%w", err)
		}
	}
	if o.ID != "" {
		if err := results.CheckNew(o.Root, o.ID); err != nil {
			return err
		}
	}
	return nil
}
