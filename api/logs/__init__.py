"""Logs: what the ranks of an attempt print, tailed while they run, in the storage once the attempt is over.

Bytes of a rank's output are numbered from 0. While the attempt lasts they lie in blocks in the database, where any
replica can append to them and read them, which an object store cannot do. Of long outputs the beginning and the end are
kept. When the attempt is over the blocks become one file in the storage, an artifact, and go.
"""
