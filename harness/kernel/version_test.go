package kernel

import (
	"fmt"
	"testing"
)

func TestParseVersion(t *testing.T) {
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
		v, err := ParseVersion(tt.in)
		if (err == nil) != (tt.want != "") || err == nil && (v.String() != tt.want || v.Release != tt.in) {
			t.Errorf("%q: %v, %v; want %s", tt.in, v, err, tt.want)
		}
	}
}

func TestSatisfies(t *testing.T) {
	v := Version{Major: 6, Minor: 1, Patch: 76}
	for _, tt := range []struct {
		in   string
		want bool
	}{
		{">= 6.1", true}, {">=6.1.76", true}, {">= 6.1.77", false}, {">= 6.5", false}, {">= 6", true}, {">= 5.15", true},
		{"> 6.1", false}, {"> 6.0", true}, {"< 6.1", false}, {"< 6.2", true}, {"<= 6.1", true}, {"= 6.1", true}, {"= 6", true}, {"= 6.1.75", false},
		{">= 5.15, < 6.8", true}, {">= 5.15, < 6.1", false},
	} {
		if got, err := v.Satisfies(tt.in); err != nil || got != tt.want {
			t.Errorf("%v %s: %v, %v; want %v", v, tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{"", "6.1", "== 6.1", ">= ", ">= 6.x", ">= 6.1.2.3", ">= 6.1,", "~> 6", ">= -1"} {
		if _, err := v.Satisfies(in); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
}

func TestRunningVersion(t *testing.T) {
	v, err := RunningVersion()
	if err != nil || !v.AtLeast(3, 0) || v.AtLeast(v.Major, v.Minor+1) {
		t.Errorf("version %+v, %v", v, err)
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("6.1.0-18-amd64", ">= 5.15, < 6.8")
	f.Fuzz(func(t *testing.T, release, conditions string) {
		v, err := ParseVersion(release)
		if err != nil {
			return
		}
		if w, err := ParseVersion(v.String()); err != nil || w.Compare(v) != 0 {
			t.Errorf("%q: %v, and that again %v, %v", release, v, w, err)
		}
		_, _ = v.Satisfies(conditions)
	})
}

func ExampleVersion_Satisfies() {
	v, err := ParseVersion("6.1.0-18-amd64")
	if err != nil {
		panic(err)
	}
	ok, err := v.Satisfies(">= 6.5")
	fmt.Println(v, ok, err)
	// Output: 6.1.0 false <nil>
}
