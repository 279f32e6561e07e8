package demosite

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func sees(db *database, region, id string) bool {
	_, ok := db.order(region, "alice", id)
	return ok
}

func TestWritesReachReplicasAfterTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		regions := []string{"us", "eu", "apac"}
		faults := newFaults(regions)
		db := newDatabase(regions, nil, 100*time.Millisecond, faults)
		o := db.placeOrder("alice", nil, 0)
		if !sees(db, "us", o.ID) {
			t.Error("the primary does not see its own write")
		}
		time.Sleep(79 * time.Millisecond)
		if sees(db, "eu", o.ID) || sees(db, "apac", o.ID) {
			t.Error("a replica sees the write 79 ms after it, want at least 80 ms")
		}
		time.Sleep(41 * time.Millisecond)
		if !sees(db, "eu", o.ID) || !sees(db, "apac", o.ID) {
			t.Error("a replica does not see the write 120 ms after it")
		}

		if err := faults.Set(ReplicationLag, "apac", true); err != nil {
			t.Fatal(err)
		}
		late := db.placeOrder("alice", nil, 0)
		time.Sleep(faultLag - time.Millisecond)
		if !sees(db, "eu", late.ID) || sees(db, "apac", late.ID) || !sees(db, "apac", o.ID) {
			t.Error("under the fault, want the write seen in eu, not yet in apac, and nothing unseen again")
		}
		time.Sleep(time.Millisecond)
		if !sees(db, "apac", late.ID) {
			t.Error("apac does not see the write after 5 s")
		}
		db.removeOrder("alice", late.ID)
		if sees(db, "us", late.ID) || !sees(db, "apac", late.ID) {
			t.Error("want the removal seen at once in us and late in apac")
		}
	})
}

func TestReadsGoBackOnlyWhileTheyAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		regions := []string{"us", "eu"}
		faults := newFaults(regions)
		db := newDatabase(regions, nil, 100*time.Millisecond, faults)
		if err := faults.Set(BackwardReads, "eu", true); err != nil {
			t.Fatal(err)
		}
		o := db.placeOrder("alice", nil, 0)
		time.Sleep(time.Second)
		for i, want := range []bool{true, false, true, false} {
			if got := sees(db, "eu", o.ID); got != want {
				t.Errorf("read %d: got %t, want %t", i+1, got, want)
			}
		}
		time.Sleep(faultLag - time.Second)
		for range 2 { // one read from each replica
			if !sees(db, "eu", o.ID) {
				t.Error("the second replica does not have the write after 5 s")
			}
		}
		late := db.placeOrder("alice", nil, 0)
		time.Sleep(time.Second)
		if err := faults.Set(BackwardReads, "eu", false); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if !sees(db, "eu", late.ID) {
				t.Error("reads go back without the fault")
			}
		}
	})
}

func TestLostWritesStayLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		regions := []string{"us", "eu", "apac"}
		faults := newFaults(regions)
		db := newDatabase(regions, nil, 100*time.Millisecond, faults)
		if err := faults.Set(LostWrites, "eu", true); err != nil {
			t.Fatal(err)
		}
		o := db.placeOrder("alice", nil, 0)
		time.Sleep(time.Minute)
		if !sees(db, "us", o.ID) || sees(db, "eu", o.ID) || !sees(db, "apac", o.ID) {
			t.Error("want the write in all regions but eu")
		}
		if err := faults.Set(LostWrites, "eu", false); err != nil {
			t.Fatal(err)
		}
		next := db.placeOrder("alice", nil, 0)
		time.Sleep(time.Second)
		if sees(db, "eu", o.ID) || !sees(db, "eu", next.ID) {
			t.Error("want later writes seen in eu, and the lost one never")
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	regions := []string{"us", "eu"}
	db := newDatabase(regions, nil, time.Hour, newFaults(regions))
	for range maxOrders + maxPending + 10 {
		db.placeOrder("alice", nil, 0)
	}
	if got := len(db.primary.orders); got != maxOrders {
		t.Errorf("primary: got %d orders, want %d", got, maxOrders)
	}
	if got := len(db.replicas["eu"].near.pending); got != maxPending {
		t.Errorf("replica: got %d pending changes, want %d", got, maxPending)
	}
}

func TestTokensExpireAndCannotBeForged(t *testing.T) {
	a, now := newAccounts("x"), time.Now()
	token := a.token("alice", now)
	if u, ok := a.verify(token, now.Add(sessionLength-2*time.Second)); !ok || u != "alice" {
		t.Errorf("got %q, %t, want alice", u, ok)
	}
	if _, ok := a.verify(token, now.Add(sessionLength)); ok {
		t.Error("an expired token is accepted")
	}
	for _, forged := range []string{"", ".", "alice", "bob" + token[5:], token + "0", newAccounts("x").token("alice", now)} {
		if _, ok := a.verify(forged, now); ok {
			t.Errorf("%q is accepted", forged)
		}
	}
	if a.canary("alice") == a.canary("bob") {
		t.Error("two users share a canary")
	}
}

func FuzzVerify(f *testing.F) {
	a := newAccounts("x")
	for i := range 3 {
		f.Add(fmt.Sprintf("alice.%d.00", i))
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, ok := a.verify(token, time.Unix(0, 0)); ok {
			t.Errorf("%q is accepted", token)
		}
	})
}
