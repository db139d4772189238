// Package bench measures, in guests, what a bulk flow and its observers cost. docs/performance.md has the figures.
package bench
