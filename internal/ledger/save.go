package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"lastmile/internal/ledger/causes"
	"lastmile/internal/ledger/codec"
	"lastmile/internal/ledger/slots"
	"lastmile/internal/scenario"
)

// The form of saved books: the magic line, then blocks, each with its length before it (4 bytes, big-endian). The first holds the regions, each
// further one a combination; one of no length is the end.
const (
	savedMagic = "lastmile ledger 2\n"
	oldMagic   = "lastmile ledger 1\n" // of the version before: without counts of objectives other than availability
	maxBlock   = 64 << 20              // bytes
)

// Save writes the books as the results and verdicts that were entered have made them, and nothing else: what was only planned is not in
// it, for whoever loads it plans those slots again. It must not be called while results or verdicts are being entered; all else may
// go on, since the ledger is locked for one combination at a time, and never while w writes.
func (l *Ledger) Save(w io.Writer) error {
	l.mu.Lock()
	all := slices.Clone(l.all)
	e := &codec.Encoder{Out: make([]byte, 4, 64<<10)}
	saveRegions(e, l.regions)
	l.mu.Unlock()
	if _, err := io.WriteString(w, savedMagic); err != nil {
		return fmt.Errorf("save ledger: %w", err)
	}
	if err := writeBlock(e, w); err != nil {
		return fmt.Errorf("save ledger: %w", err)
	}
	for _, a := range all {
		l.mu.Lock()
		empty, err := a.blank(), error(nil)
		if !empty {
			err = a.save(e)
		}
		l.mu.Unlock()
		if empty {
			continue
		}
		if err = errors.Join(err, writeBlock(e, w)); err != nil {
			return fmt.Errorf("save ledger: %+v: %w", a.combination, err)
		}
	}
	if err := writeBlock(e, w); err != nil {
		return fmt.Errorf("save ledger: %w", err)
	}
	return nil
}

// writeBlock writes what has been encoded since the last one.
func writeBlock(e *codec.Encoder, w io.Writer) error {
	n := len(e.Out) - 4
	if n > maxBlock {
		return fmt.Errorf("write block: got %d bytes, want at most %d", n, maxBlock)
	}
	binary.BigEndian.PutUint32(e.Out, uint32(n))
	_, err := w.Write(e.Out)
	e.Out = e.Out[:4]
	return err
}

// blank reports whether no result and no verdict has come for the combination.
func (a *account) blank() bool { return a.first == never && a.duplicates == 0 && a.unscheduled == 0 }

func saveRegions(e *codec.Encoder, regions map[string]*region) {
	e.Number(int64(len(regions)))
	for name, r := range regions {
		e.Text(name)
		e.Flag(r.closed != nothing)
		if r.closed != nothing {
			e.Signed(r.closed)
		}
	}
}

func (a *account) save(e *codec.Encoder) error {
	e.Text(a.combination.Scenario)
	e.Text(a.combination.Region)
	e.Text(a.combination.Network)
	e.Signed(a.first)
	e.Signed(a.newest)
	e.Signed(a.forgottenBefore)
	open := a.counts[slots.Pending] // planned, and no more
	for i := range slots.NumStates {
		counts, entered := a.counts[i], a.entered[i]
		if i == slots.Pending {
			counts, entered = 0, entered-open
		}
		e.Number(counts)
		e.Number(entered)
	}
	for i := range a.reasons {
		e.Number(a.reasons[i])
		e.Number(a.everReasons[i])
	}
	for _, n := range []int64{a.duplicates, a.unscheduled, a.amended, a.tainted} {
		e.Number(n)
	}
	codec.EncodeTally(e, a.classes)
	codec.EncodeTally(e, a.cache)
	e.Number(int64(len(a.served)))
	for _, by := range a.served {
		e.Text(by.Key.region)
		e.Flag(by.Key.expected)
		e.Number(by.N)
	}
	if err := a.book.Save(e); err != nil {
		return err
	}
	a.edge.Save(e)
	a.causes.Save(e)
	e.Flag(a.last != nil)
	if a.last != nil {
		causes.SaveOne(e, a.last)
		e.Signed(a.lastSlot)
	}
	a.slots.Save(e)
	return nil
}

// Load reads what Save wrote into empty books: it is to be called before Define and everything else. An error says what is wrong with it, and leaves
// the books empty. It reads no further than Save wrote. Objectives count on from what they had counted; a ledger that is made from the
// streams alone counts old results by the objectives of today.
func (l *Ledger) Load(r io.Reader) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) > 0 || len(l.regions) > 0 {
		return errors.New("load ledger: got books with something in them, want empty ones")
	}
	into := New()
	if err := into.load(r); err != nil {
		return fmt.Errorf("load ledger: %w", err)
	}
	l.accounts, l.all, l.regions = into.accounts, into.all, into.regions
	return nil
}

func (l *Ledger) load(r io.Reader) error {
	start := make([]byte, len(savedMagic))
	if _, err := io.ReadFull(r, start); err != nil {
		return fmt.Errorf("read magic: %w", err)
	}
	if string(start) != savedMagic && string(start) != oldMagic {
		return fmt.Errorf("read magic: got %q, want %q or %q", start, savedMagic, oldMagic)
	}
	var block bytes.Buffer
	for n := 0; ; n++ {
		if err := readBlock(r, &block); err != nil {
			return fmt.Errorf("read block %d: %w", n, err)
		}
		if n > 0 && block.Len() == 0 {
			return nil
		}
		d := &codec.Decoder{Rest: block.Bytes()}
		if n == 0 {
			l.loadRegions(d)
		} else {
			l.loadAccount(d, string(start) == oldMagic)
		}
		if d.Err == nil && len(d.Rest) > 0 {
			d.Fail("got %d bytes after the end, want none", len(d.Rest))
		}
		if d.Err != nil {
			return fmt.Errorf("block %d: %w", n, d.Err)
		}
	}
}

// readBlock reads the next block. It takes no more room than there is in r.
func readBlock(r io.Reader, into *bytes.Buffer) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxBlock {
		return fmt.Errorf("got %d bytes, want at most %d", n, maxBlock)
	}
	into.Reset()
	if _, err := io.CopyN(into, r, int64(n)); err != nil {
		return fmt.Errorf("got an end, want %d bytes: %w", n, err)
	}
	return nil
}

func (l *Ledger) loadRegions(d *codec.Decoder) {
	for range d.Each {
		name := d.Text()
		if d.Err == nil && (l.regions[name] != nil || !scenario.ValidName(name)) {
			d.Fail("read region: got %.100q, want a label, once", name)
			return
		}
		r := l.region(name)
		if d.Flag() {
			r.closed = d.Signed()
		}
		if limit := int64(1) << 40; r.closed != nothing && (r.closed > limit || r.closed < -limit) {
			d.Fail("read region %s: got minute %d, want -%d to %d", name, r.closed, limit, limit)
		}
	}
}
