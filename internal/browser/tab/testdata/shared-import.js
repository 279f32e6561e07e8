self.imported = 2
