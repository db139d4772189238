package golden

import "testing"

func TestDiffer(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", -1},
		{"a\nb\n", "a\nb\n", -1},
		{"a\nb\n", "a\nc\n", 1},
		{"a\n", "a\nb\n", 1},
		{"a\nb", "a", 1},
		{"", "a", 0},
	} {
		if got := differ(c.a, c.b); got != c.want {
			t.Errorf("%q and %q differ in line %d, want %d", c.a, c.b, got, c.want)
		}
		if got := differ(c.b, c.a); got != c.want {
			t.Errorf("%q and %q differ in line %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
