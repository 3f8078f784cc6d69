"""The SD card of a node: flashed, filled, labelled. FAT32, partitions and drives need the standard library only."""
