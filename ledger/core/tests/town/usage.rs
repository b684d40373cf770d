//! Usage of the town: completion rows and the epochs that settle them.
