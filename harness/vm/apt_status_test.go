package vm

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcplab/tcplab/internal/progress"
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

// What apt-get says is shown from its first line of status on, however the lines are cut: until then sudo may ask for a password.
func TestFollowApt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		display := progress.New(&out)
		ctx := progress.With(t.Context(), display)
		if followApt(ctx, "indextargets", nil) != nil {
			t.Error("what is read is taken for what is shown")
		}
		status := followApt(ctx, "download", []string{"linux-image-6.1"})
		for _, part := range []string{"Get:1 http://x [70 MB]\n", "dlst", "atus:1:7.4:Retr"} {
			if n, err := status.Write([]byte(part)); n != len(part) || err != nil {
				t.Errorf("%q: %d, %v", part, n, err)
			}
		}
		if status.task != nil {
			t.Error("shown before apt-get has told how far it is")
		}
		if _, err := status.Write([]byte("ieving file 1 of 1\r\nFetched")); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		status.done()
		display.Close()
		if want := "downloading linux-image-6.1: 7 %, Retrieving file 1 of 1 (10s)\n"; !strings.HasPrefix(out.String(), want) {
			t.Errorf("%q, expected it to begin with %q", out.String(), want)
		}
		followApt(ctx, "update", nil).done() // never begun
	})
}
