package volumes

import "testing"

func TestNetworkFileSystems(t *testing.T) {
	t.Parallel()
	for magic, want := range map[int64]bool{
		0x6969: true, 0xff534d42: true, 0xfe534d42: true, -11317950: true, // CIFS as a 32-bit kernel says it
		0xef53: false, 0x58465342: false, 0x01021994: false, 0x9123683e: false, // ext4, XFS, tmpfs, Btrfs
	} {
		if _, got := networkFS(magic); got != want {
			t.Errorf("%#x: got %v, want %v", magic, got, want)
		}
	}
}
