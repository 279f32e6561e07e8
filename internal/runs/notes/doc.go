// Package notes has what the programs tell one another beside assignments and results: the tokens of replication, and with which slot each
// combination began.
package notes
