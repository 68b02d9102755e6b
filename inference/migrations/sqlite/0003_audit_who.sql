-- Whose doing it was: a name from serve.access, "unauthenticated" where nobody is asked, "forewarn" for the program itself.
ALTER TABLE audit ADD COLUMN who TEXT NOT NULL DEFAULT 'forewarn';
