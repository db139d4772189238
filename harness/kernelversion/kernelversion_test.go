package kernelversion

import "testing"

func TestParse(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"6.1.0-18-amd64", "6.1.0"},
		{"6.18.44-fc-v669", "6.18.44"},
		{"5.15.167.4-microsoft-standard-WSL2", "5.15.167"},
		{"6.13-rc3", "6.13.0"},
		{"6.12", "6.12.0"},
		{"6.8.12+bpo-amd64", "6.8.12"},
		{"5.14.0-503.el9.x86_64", "5.14.0"},
		{"6.1.x", ""},
		{"6", ""},
		{"6.", ""},
		{"", ""},
		{"v6.1", ""},
		{"99999999999999999999.1", ""},
	} {
		v, err := Parse(tt.in)
		if (err == nil) != (tt.want != "") || err == nil && (v.String() != tt.want || v.Release != tt.in) {
			t.Errorf("%q: %v, %v; want %s", tt.in, v, err, tt.want)
		}
	}
}

func TestRunning(t *testing.T) {
	v, err := Running()
	if err != nil || !v.AtLeast(3, 0) || v.AtLeast(v.Major, v.Minor+1) {
		t.Errorf("version %+v, %v", v, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("6.1.0-18-amd64")
	f.Fuzz(func(t *testing.T, release string) {
		v, err := Parse(release)
		if err != nil {
			return
		}
		if w, err := Parse(v.String()); err != nil || w.compare(v) != 0 {
			t.Errorf("%q: %v, and that again %v, %v", release, v, w, err)
		}
	})
}
