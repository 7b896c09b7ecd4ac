"""What looks at a repository from outside its daemon, beside it or without it: are the originals what they were?"""
