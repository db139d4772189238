package netns

import "testing"

func benchmark(b *testing.B, build func() (*Topology, error)) {
	for b.Loop() {
		t, err := build()
		if err != nil {
			b.Fatal(err)
		}
		if err := t.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDirect(b *testing.B) {
	benchmark(b, func() (*Topology, error) { return Direct(Config{}) })
}
func BenchmarkRouted(b *testing.B) {
	benchmark(b, func() (*Topology, error) { return Routed(Config{}) })
}
func BenchmarkDumbbell10(b *testing.B) {
	benchmark(b, func() (*Topology, error) { return Dumbbell(10, Config{}) })
}

// BenchmarkPlan is what a graph adds to the building of it.
func BenchmarkPlan(b *testing.B) {
	for _, c := range []struct {
		name  string
		graph *Graph
	}{{"routed", chain(1)}, {"chain of 254", chain(254)}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				mustPlan(b, c.graph)
			}
		})
	}
}
