package harness

import (
	"fmt"
	"os"
	"strings"
)

// startOf returns the start of a process, in clock ticks since the machine booted. With the
// process's number it names the process uniquely, as long as the machine is up.
func startOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The command's name, in brackets, may hold spaces and brackets itself. Behind it comes
	// the third field of proc(5)'s; the 22nd is the start.
	end := strings.LastIndex(string(text), ") ")
	if end < 0 {
		return "", fmt.Errorf("/proc/%d/stat: no end of the command's name in %q", pid, text)
	}
	fields := strings.Fields(string(text)[end+2:])
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: no start in %q", pid, text)
	}
	return fields[19], nil
}
