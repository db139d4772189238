package vm

import (
	"strings"
	"testing"
)

func TestAptProgress(t *testing.T) {
	for line, want := range map[string]string{
		"dlstatus:1:7.4284:Retrieving file 1 of 1":                               "7 %, Retrieving file 1 of 1",
		"dlstatus:2:99.9999:Retrieving file 2 of 14 (1min 2s remaining)":         "99 %, Retrieving file 2 of 14 (1min 2s remaining)",
		"pmstatus:qemu-system-x86:100.0000:Installed qemu-system-x86 (amd64)":    "100 %, Installed qemu-system-x86 (amd64)",
		"pmstatus:libc6:amd64:12.5000:Unpacking libc6:amd64":                     "12 %, Unpacking libc6:amd64",
		"pmstatus:dpkg-exec:0:Running dpkg":                                      "0 %, Running dpkg",
		"Get:1 http://deb.debian.org/debian bookworm/main amd64 x 1.0 [70.2 MB]": "",
		"dlstatus:1:101:Retrieving":                                              "",
		"dlstatus:1:NaN:Retrieving":                                              "",
		"dlstatus:1":                                                             "",
		"pmerror:/x.deb:100.0000:trying to overwrite '/x'":                       "",
		"": "",
	} {
		if got, ok := aptProgress(line); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; expected %q", line, got, ok, want)
		}
	}
}

func FuzzAptProgress(f *testing.F) {
	f.Add("dlstatus:1:7.4284:Retrieving file 1 of 1")
	f.Add("pmstatus:libc6:amd64:12.5000:Unpacking libc6:amd64")
	f.Fuzz(func(t *testing.T, line string) {
		detail, ok := aptProgress(line)
		if percent, _, found := strings.Cut(detail, " %, "); ok && (!found || len(percent) > 3 || strings.Trim(percent, "0123456789") != "") {
			t.Errorf("%q: %q", line, detail)
		}
	})
}

func TestFollowApt(t *testing.T) {
	if followApt(t.Context(), []string{"indextargets", "--format", "x"}) != nil {
		t.Error("what is to be read is taken for what is to be shown")
	}
	for _, args := range [][]string{{"update"}, {"download", "linux-image-6.1"}, {"download"}, {"install", "--yes", "qemu"}} {
		status := followApt(t.Context(), args)
		if n, err := status.Write([]byte("dlstatus:1:7.4284:Retrieving file 1 of 1\n")); n != 41 || err != nil {
			t.Errorf("%v: %d, %v", args, n, err)
		}
		status.Done()
	}
}
