package results

import (
	"bufio"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ThisKernel names the kernel that this process runs on.
func ThisKernel() Uname {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Uname{} // uname(2) fails only on a bad address
	}
	return Uname{
		Release: unix.ByteSliceToString(name.Release[:]),
		Version: unix.ByteSliceToString(name.Version[:]),
		Machine: unix.ByteSliceToString(name.Machine[:]),
	}
}

// ThisHost describes this machine. What cannot be found out stays empty; the times are the caller's.
func ThisHost() HostPart {
	part := HostPart{Kernel: ThisKernel(), CPU: cpuModel(), CPUs: runtime.NumCPU()}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		part.Memory = info.Totalram * uint64(info.Unit)
	}
	return part
}

func cpuModel() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, value, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
