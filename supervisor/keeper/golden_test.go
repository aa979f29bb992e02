package keeper

import (
	"testing"
	"time"
)

// The files of testdata/records-1 were written by the first keeper whose records count.
func TestReadsFirstRecords(t *testing.T) {
	f := files{"testdata/records-1"}
	keys, err := f.recorded()
	if err != nil || len(keys) != 4 {
		t.Fatalf("there are %v, %v", keys, err)
	}
	wants := map[string]want{"default/web-0": wantRun, "default/web-1": wantFail, "prod/db-0": wantRun, "prod/db-1": wantStop}
	for _, k := range keys {
		r, err := f.readRecord(k)
		l, lerr := f.readLife(k)
		if err != nil || lerr != nil || r.Want != wants[k.member] || r.Start.StopTimeout != 5*time.Second || l.Epoch != r.Start.Epoch {
			t.Errorf("%s: %+v %v, %+v %v", k, r, err, l, lerr)
		}
	}
	if e, err := f.readEpoch("prod/db-1"); e != 3 || err != nil {
		t.Errorf("epoch %d, %v", e, err)
	}
}
