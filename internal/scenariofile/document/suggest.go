package document

import "strings"

// DidYouMean is what an error wants where a name is known that was probably meant.
func DidYouMean(name string) string { return name + " (did you mean that?)" }

// maxTypo is the longest key for which a suggestion is looked for.
const maxTypo = 40

// Closest returns the name that was probably meant by key, "" where none is near: one edit away, or two for four letters or more,
// and so on.
func Closest(key string, names []string) string {
	if len(key) > maxTypo {
		return ""
	}
	best, bestDistance := "", min(len(key), len(key)/4+2)
	for _, name := range names {
		if strings.EqualFold(key, name) {
			return name
		}
		if d := distance(strings.ToLower(key), strings.ToLower(name)); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that lead from a to b (the optimal string
// alignment form of the Damerau-Levenshtein distance).
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
